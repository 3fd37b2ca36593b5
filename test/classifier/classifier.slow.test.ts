// With the cases that take long.
import "./classifier.test.js";
