// With ten times as many requests.
import "./soak.test.js";
