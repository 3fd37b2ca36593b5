// With the cases that take long.
import "./configurations.test.js";
