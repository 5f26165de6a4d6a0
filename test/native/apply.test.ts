import { nativeTests } from './cases.ts';

nativeTests('apply_test');
