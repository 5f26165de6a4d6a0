/** The options with which commands choose the image of an archive. */
import type { ArchiveChoice } from '../../packed/operation.ts';
import { UsageError, type OptionSpecs } from './command.ts';

/** For commands that take mounted archives only. */
export const IMAGE_OPTIONS = {
  image: {
    type: 'string',
    value: 'NAME',
    kind: 'none',
    help: 'which image to use, if the archive has several',
  },
  platform: {
    type: 'string',
    value: 'OS/ARCH[/VARIANT]',
    help: 'which platform to use, if the archive has several (default: this machine)',
  },
} as const satisfies OptionSpecs;

/** For commands that mount an archive. */
export const ARCHIVE_OPTIONS = {
  ...IMAGE_OPTIONS,
  'no-verify': { type: 'boolean', help: "do not read the archive's layers to check their digests" },
} as const satisfies OptionSpecs;

interface ArchiveValues {
  readonly image?: string | undefined;
  readonly platform?: string | undefined;
  readonly 'no-verify'?: boolean | undefined;
}

export function archiveChoice({
  image,
  platform,
  'no-verify': unverified = false,
}: ArchiveValues): ArchiveChoice {
  return { image, platform, verify: !unverified };
}

/** @throws UsageError where an option of archives is given for a container. */
export function refuseArchiveOptions({ image, platform, 'no-verify': unverified }: ArchiveValues): void {
  if (image === undefined && platform === undefined && unverified !== true) return;
  throw new UsageError(
    '--image, --platform and --no-verify are for archives: give the path of one, with a slash (./app.tar)',
  );
}
