// With the cases that take long.
import "./vit-training.test.js";
