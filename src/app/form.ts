/**
 * The form in which new images are stored. The caller's choice comes first, then the root's own default, in
 * `layerstack/settings.json`: `{"form": "packed"}`. Where the kernel cannot mount packed layers, images
 * are extracted.
 */
import { constants } from 'node:fs';
import * as json from '../core/json.ts';
import { LayerstackError, unlessMissing } from '../core/errors.ts';
import type { StoreForm } from '../layer/store.ts';
import { probeErofs } from '../system/caps.ts';
import type { Root } from '../system/root.ts';
import { openStoreFile } from '../system/store-files.ts';

export interface ChosenForm {
  readonly form: StoreForm;
  /** Lines for the user. */
  readonly notices: readonly string[];
}

const MAX_BYTES = 64 * 1024;
const FORMS: readonly string[] = ['classic', 'packed', 'auto'] satisfies readonly StoreForm[];

const decode = json.object({ form: json.optional(json.string) });

/**
 * Chooses the form.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for settings that cannot be read.
 */
export async function chooseForm(root: Root, wanted: StoreForm | undefined): Promise<ChosenForm> {
  const form = wanted ?? (await defaultForm(root));
  if (form === 'classic') return { form, notices: [] };
  if ((await probeErofs(root.layout.root)) !== 'none') return { form, notices: [] };
  return {
    form: 'classic',
    notices: [
      'This kernel cannot mount packed layers (it lacks EROFS with 512-byte blocks), so the layers are extracted',
    ],
  };
}

async function defaultForm({ layout }: Root): Promise<StoreForm> {
  const path = layout.at(layout.settings);
  const file = await unlessMissing(openStoreFile(path, constants.O_RDONLY));
  if (file === undefined) return 'classic';
  try {
    // One byte more than is allowed shows that the file is too large.
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(MAX_BYTES + 1), position: 0 });
    const { form } = json.decodeJson(decode, buffer.subarray(0, bytesRead), {
      what: path,
      code: 'ERR_INVALID_ARGUMENT',
      maxBytes: MAX_BYTES,
      facts: { path },
    });
    if (form === undefined) return 'classic';
    if (isForm(form)) return form;
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${path}: form is ${JSON.stringify(form)}: use "classic", "packed" or "auto"`,
      { path },
    );
  } finally {
    await file.close();
  }
}

function isForm(text: string): text is StoreForm {
  return FORMS.includes(text);
}
