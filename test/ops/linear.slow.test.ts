// With the cases that take long.
import "./linear.test.js";
