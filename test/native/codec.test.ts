import { nativeTests } from './cases.ts';

nativeTests('codec_test');
nativeTests('tar_split_test');
