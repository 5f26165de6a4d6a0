/** The text of a Dockerfile is malformed. The message says why. The reader of the file adds the line. */
export class WordError extends Error {}
