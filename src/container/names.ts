/**
 * Names of containers: Docker's grammar, and generated names in Docker's form `adjective_noun` for callers
 * that give none. The words come from the building trade. They make 64 x 64 names, and a digit is added when
 * a name is taken.
 */
import { LayerstackError } from '../core/errors.ts';
import { randomName } from '../core/random.ts';

const GRAMMAR = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** A name is also a file name in the index, so the file system's limit applies. */
const MAX_LENGTH = 255;

const ADJECTIVES =
  'airy ample arched banded beaded bold bonded brisk broad burnished calm carved chalky cobbled cool corbelled ' +
  'curved deft dry earthen even fair firm fluted frugal glazed golden grand hewn honed humble keen kind lean level ' +
  'light limed lofty lucid mellow merry mossy neat nimble paved plain plumb polished proud quiet ribbed robust ' +
  'rustic sandy serene sleek solid square steady sturdy sunlit tidy vaulted warm';

const NOUNS =
  'abutment adobe alcove arbor arcade arch atrium attic balcony basalt beam belfry bracket brick bridge buttress ' +
  'canopy cedar cellar chisel clay cloister column corbel cornice courtyard dome dormer dowel eave facade flagstone ' +
  'footing frieze gable gallery girder granite hearth joist keystone ladder lantern lintel lodge mallet marble ' +
  'mortar niche oak pantry parapet pier pillar plinth porch portal quarry rafter slate steeple terrace trowel turret';

/** The words generated names are made of. */
export const WORDS = { adjectives: ADJECTIVES.split(' '), nouns: NOUNS.split(' ') } as const;

/**
 * Returns a random integer from 0 to below `bound`. `bound` is far below 2^32, so all are about equally
 * likely.
 */
function randomBelow(bound: number): number {
  return randomName(4).readUInt32LE() % bound;
}

function pick(words: readonly string[]): string {
  return words[randomBelow(words.length)] ?? '';
}

/**
 * Returns a name in Docker's form, such as `vaulted_granite`, with a digit appended from the second `attempt`
 * on. The caller checks that it is unique.
 */
export function generateName(attempt = 0): string {
  const name = `${pick(WORDS.adjectives)}_${pick(WORDS.nouns)}`;
  return attempt === 0 ? name : `${name}${randomBelow(10)}`;
}

/** Returns whether the text can be a container's name, and so the name of a file in the index. */
export function isContainerName(text: string): boolean {
  return GRAMMAR.test(text) && text.length <= MAX_LENGTH;
}

/**
 * Checks a name from a caller, and removes the `/` that Docker's API puts before names.
 * @throws LayerstackError ERR_INVALID_ARGUMENT when it breaks Docker's grammar or is longer than 255 bytes.
 */
export function parseContainerName(text: string): string {
  const name = text.startsWith('/') ? text.slice(1) : text;
  if (!isContainerName(name))
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${JSON.stringify(text)} is not a container name: use letters, digits, '_', '.' and '-', ` +
        `begin with a letter or digit, 2 to ${MAX_LENGTH} characters`,
    );
  return name;
}
