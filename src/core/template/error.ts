/** A template that cannot be read or carried out; the message is worded as Go's text/template words it. */
export class TemplateError extends Error {}
