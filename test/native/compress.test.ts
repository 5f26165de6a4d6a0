import { nativeTests } from './cases.ts';

nativeTests('compress_test');
