// With the cases that take long.
import "./random-graph.test.js";
