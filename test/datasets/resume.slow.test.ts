// With the cases that take long.
import "./resume.test.js";
