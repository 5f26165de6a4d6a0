/** The text of src/app/signatures.ts, as the sources are now. */
export function signaturesText(): string;
