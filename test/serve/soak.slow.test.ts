// With as many requests as a long night brings.
import "./soak.test.js";
