import "./closed-forms.test.js";
