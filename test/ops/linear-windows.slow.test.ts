// With the cases that take long.
import "./linear-windows.test.js";
