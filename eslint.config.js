import js from '@eslint/js';
import tseslint from 'typescript-eslint';

// Files that are older than the bound of four parameters. The list only shrinks.
const MANY_PARAMETERS = [
  'src/app/doctor.ts',
  'src/container/bundle.ts',
  'src/container/copy.ts',
  'src/container/rename.ts',
  'src/container/spec/files.ts',
  'src/container/spec/mounts.ts',
  'src/container/volumes.ts',
  'src/core/template/printf.ts',
  'src/image/gc.ts',
  'src/image/usage.ts',
  'src/layer/flat.ts',
  'src/transfer/archive/save.ts',
  'src/transfer/archive/v1.ts',
  'src/transfer/registry/auth/auth-file-edit.ts',
  'src/transfer/registry/auth/login.ts',
];

// Files that are older than the bound of sixty lines for a function. The list only shrinks.
const LONG_FUNCTIONS = ['src/app/service/info.ts'];

export default tseslint.config(
  { ignores: ['dist', 'build', 'node_modules', 'coverage'] },
  js.configs.recommended,
  ...tseslint.configs.strict,
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // `await using _lock` holds a lock that no code reads; `{ secret, ...rest }` leaves `secret` out.
      '@typescript-eslint/no-unused-vars': ['error', { varsIgnorePattern: '^_', ignoreRestSiblings: true }],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      // A promise returned from within try or beside `await using` outlives what that cleans up.
      '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      'max-params': ['error', 4],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'BinaryExpression[operator="instanceof"][right.name=/^(?:LayerstackError|(?:Aggregate)?Error|Uint8Array)$/]',
          message:
            'What comes from another realm (Jest has its own) is none: isError, LayerstackError.is, util.types.',
        },
      ],
    },
  },
  { files: MANY_PARAMETERS, rules: { 'max-params': 'off' } },
  { files: LONG_FUNCTIONS, rules: { 'max-lines-per-function': 'off' } },
  {
    // A suite is one long function, and a row of `test.each` may have five columns.
    files: ['test/**/*.ts'],
    rules: { 'max-lines-per-function': 'off', 'max-params': ['error', 5] },
  },
  {
    files: ['**/*.cjs'],
    languageOptions: {
      globals: {
        require: 'readonly',
        Buffer: 'readonly',
        AbortSignal: 'readonly',
        module: 'writable',
        process: 'readonly',
        console: 'readonly',
      },
    },
    rules: { '@typescript-eslint/no-require-imports': 'off' },
  },
  {
    files: ['**/*.js', 'test/fixtures/installed/*.mjs'],
    languageOptions: {
      globals: { process: 'readonly', console: 'readonly', AbortSignal: 'readonly', URL: 'readonly' },
    },
  },
);
