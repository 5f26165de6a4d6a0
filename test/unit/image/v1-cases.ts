/**
 * Legacy image documents and the image ids that dockerd 20.10.24 gave them: each was put into an archive with
 * an empty tar of 1024 NUL bytes as its layer.tar, `docker load`ed, and read back with `docker image
 * inspect`.
 */
export interface V1Case {
  readonly name: string;
  /** `<id>/json`, base first. Every image but the first has the one before as its parent. */
  readonly documents: readonly (string | Buffer)[];
  /** Of the last document. */
  readonly id: string;
}

/** Legacy ids are 64 hex digits; the cases use these. */
export const v1Id = (index: number): string =>
  String(index + 1)
    .repeat(64)
    .slice(0, 64);

const parent = `"id":"${v1Id(1)}","parent":"${v1Id(0)}"`;
const base = `{"id":"${v1Id(0)}","created":"2015-01-02T03:04:05.6Z","container_config":{"Cmd":["/bin/sh","-c","#(nop) ADD file"]},"os":"linux"}`;

export const V1_CASES: readonly V1Case[] = [
  {
    name: 'a base without a docker version',
    documents: [base],
    id: 'sha256:ca7f42d92a4394b9e38999e527f1c066b92f64b7fe746651db368d2520178877',
  },
  {
    name: 'an empty document',
    documents: ['{}'],
    id: 'sha256:72d225589f2dbdf8d8575adf25ed36719fd0b0d8a4fc2fef8f7ff151404d3641',
  },
  {
    name: 'a child of docker 1.7, with everything that its struct has',
    documents: [
      base,
      `{${parent},"comment":"a <b> & \\u2028","created":"2015-01-02T03:04:05.123456789+02:00","container":"c1",
        "container_config":{"Hostname":"h","Domainname":"d","User":"u","AttachStdin":true,"AttachStdout":true,"AttachStderr":true,
          "ExposedPorts":{"80/tcp":{},"443/tcp":{}},"PortSpecs":null,"Tty":true,"OpenStdin":true,"StdinOnce":true,
          "Env":["A=1","B=<2>"],"Cmd":["sh","-c","x > y"],"Image":"i","Volumes":{"/v":{},"/a":{}},"WorkingDir":"/w",
          "Entrypoint":["e"],"NetworkDisabled":true,"MacAddress":"m","OnBuild":["RUN x"],"Labels":{"b":"2","a":"1"},
          "StopSignal":"SIGTERM","StopTimeout":0,"Shell":["sh"],"ArgsEscaped":true,"Healthcheck":{"Test":["NONE"],"Interval":1000000000,"Retries":3}},
        "docker_version":"1.7.1","author":"me","config":{"Env":[],"Cmd":"single","Entrypoint":null,"Labels":{},"Volumes":{},"OnBuild":[],"ExposedPorts":{},"Shell":[],"StopTimeout":7,"Healthcheck":{}},
        "architecture":"arm","variant":"v7","os":"linux","Size":123,"throwaway":true,"unknown":{"kept":false}}`,
    ],
    id: 'sha256:093fc4a925c708520ea75ac4c86ecf7440e14d4712ace5080b1e175dba6c7886',
  },
  {
    name: 'a document of docker 1.8.3, carried over as it is written',
    documents: [
      base,
      `{ ${parent} , "docker_version" : "1.8.3", "created":"2015-10-12T00:00:00.500Z",
        "zeta": 1.0e2 , "alpha": [ 1 , 2.50, {"b" : 1, "a":2} ], "big": 123456789012345678901234567890,
        "html": "<&> \u2028 \\u003c \\/ é \\u00e9 \\ud83d\\ude00", "k<e>y\\u0041": null, "Size": 5, "size": 6, "layer_id":"x","parent_id":"y","throwaway":false,
        "dup": 1, "dup": {"two": [ ] }, "config": null, "container_config": {"Cmd": null}, "author":"", "comment":"c\\u0008\\u007f\\"" }`,
    ],
    id: 'sha256:f4d3c9a5cf9eae8ec0736da0d504b69604854b98a340ff87677292f349496e3e',
  },
  {
    name: 'a document of docker 1.13-dev with field names in other case',
    documents: [
      `{"OS":"linux","Docker_Version":"1.13.0-dev","Created":"2017-01-01T00:00:00Z","AUTHOR":"A","Container_Config":{"cmd":["x"]}}`,
    ],
    id: 'sha256:330f3d04a6f152fe11caaede75b8af6f3a76f86058106913a91757aa645d12f4',
  },
  {
    name: 'a document of docker 1.8.2-rc1',
    documents: [`{"docker_version":"1.8.2-rc1","created":"2015-09-01T00:00:00Z","config":{"Hostname":"h"}}`],
    id: 'sha256:88bf286b10a6ee1ad09de68f01302f6674ac8247f3f891f70780196e237ba2dd',
  },
  {
    name: 'a document of version 17.05.0-ce with a null time',
    documents: [`{"docker_version":"17.05.0-ce","created":null,"architecture":"amd64"}`],
    id: 'sha256:762cc333271091fc3d1cd283a6b8835c469e134e90f8bab9d740e7535fb2c97c',
  },
  {
    name: 'a document with invalid UTF-8',
    documents: [
      Buffer.concat([
        Buffer.from('{"docker_version":"1.9.0","comment":"a'),
        Buffer.from([0xff, 0xe9]),
        Buffer.from('b","x":"'),
        Buffer.from([0xc3]),
        Buffer.from('"}'),
      ]),
    ],
    id: 'sha256:4a7a0cdf65b53e6a5615a0fc06bbdee8f466342d470978f9e4606094261700f4',
  },
  {
    name: 'three generations of mixed versions',
    documents: [
      base,
      `{${parent},"docker_version":"1.10.3","created":"2016-01-01T00:00:00Z","author":"a","container_config":{"Cmd":["one"]}}`,
      `{"id":"${v1Id(2)}","parent":"${v1Id(1)}","docker_version":"1.6.0","created":"2016-01-02T00:00:00Z","comment":"last","config":{"Cmd":["two"]}}`,
    ],
    id: 'sha256:90ba32ecf4239d05b3cc4d8fc71517839a2761bcfa37e84c8a5ac43caa63cbe8',
  },
];
