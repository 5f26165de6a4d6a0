/** A private certificate authority, with openssl: certificates of servers and of clients, in files. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { must } from './process.ts';

export interface Certificate {
  /** Path of the PEM certificate. */
  readonly certificate: string;
  /** Path of its PEM key. */
  readonly key: string;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

export class CertificateAuthority implements Certificate {
  readonly certificate: string;
  readonly key: string;
  readonly #directory: string;
  #issued = 0;

  private constructor(directory: string, name: string) {
    this.#directory = directory;
    this.certificate = join(directory, `${name}.crt`);
    this.key = join(directory, `${name}.key`);
  }

  /** Creates an authority with its files in `directory`. */
  static async create(directory: string, name = 'ca'): Promise<CertificateAuthority> {
    const ca = new CertificateAuthority(directory, name);
    const subject = ['-subj', `/CN=layerstack test ${name}`];
    const files = ['-keyout', ca.key, '-out', ca.certificate];
    await must('openssl', ['req', '-x509', '-days', '2', ...KEY, ...subject, ...files]);
    return ca;
  }

  /** Issues a certificate for these host names and addresses, valid for servers and for clients. */
  async issue(names: readonly string[]): Promise<Certificate> {
    const base = join(this.#directory, `issued-${String(++this.#issued)}`);
    const [request, key, certificate, extensions] = ['csr', 'key', 'crt', 'ext'].map(
      (end) => `${base}.${end}`,
    ) as [string, string, string, string];
    const alternatives = names.map((name) => (/^[\d.]+$|:/.test(name) ? `IP:${name}` : `DNS:${name}`));
    writeFileSync(
      extensions,
      `subjectAltName=${alternatives.join(',')}\nextendedKeyUsage=serverAuth,clientAuth\n`,
    );
    await must('openssl', [
      'req',
      ...KEY,
      '-keyout',
      key,
      '-out',
      request,
      '-subj',
      `/CN=${names[0] ?? 'client'}`,
    ]);
    await must('openssl', [
      ...['x509', '-req', '-days', '2', '-in', request, '-out', certificate],
      ...['-CA', this.certificate, '-CAkey', this.key, '-CAcreateserial', '-extfile', extensions],
    ]);
    return { certificate, key };
  }
}
