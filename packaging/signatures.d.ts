/** Returns the texts of the files of src/app/signatures, by name, as the sources are now. */
export function signatureFiles(): Readonly<Record<string, string>>;
