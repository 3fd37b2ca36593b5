// With the cases that take long.
import "./classify.test.js";
