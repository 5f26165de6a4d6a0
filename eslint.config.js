import js from '@eslint/js';
import tseslint from 'typescript-eslint';

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
            'An object of another realm (Jest has its own) fails instanceof: use isError, LayerstackError.is, util.types.',
        },
      ],
    },
  },
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
