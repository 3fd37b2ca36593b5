import "./sized.test.js";
