/** A template that cannot be parsed or executed. The message is worded as in Go's text/template. */
export class TemplateError extends Error {}
