/** What the public methods take. Written by `npm run signatures` from their types: change those. */
import type { Signatures } from '../../core/arguments.ts';

export const signatures = (): Signatures => ({
  methods: {
    "store.snapshots.create": {"parameters":[{"name":"container","shape":{"either":["string",{"object":"Container"}]}},{"name":"options","shape":{"object":"SnapshotOptions"},"optional":true}],"async":true},
    "store.snapshots.list": {"parameters":[{"name":"options","shape":{"object":"ListSnapshotsOptions"},"optional":true}],"async":true},
    "store.snapshots.get": {"parameters":[{"name":"ref","shape":{"either":["string",{"object":"Snapshot"}]}}],"async":true},
    "store.snapshots.size": {"parameters":[{"name":"ref","shape":{"either":["string",{"object":"Snapshot"}]}}],"async":true},
    "store.snapshots.fork": {"parameters":[{"name":"source","shape":{"either":["string",{"object":"Container"},{"object":"Snapshot"}]}},{"name":"options","shape":{"object":"ForkOptions"},"optional":true}],"async":true},
    "store.snapshots.rollback": {"parameters":[{"name":"container","shape":{"either":["string",{"object":"Container"}]}},{"name":"snapshot","shape":{"either":["string",{"object":"Snapshot"}]}},{"name":"options","shape":{"object":"RollbackOptions"},"optional":true}],"async":true},
    "store.snapshots.promote": {"parameters":[{"name":"child","shape":{"either":["string",{"object":"Container"},{"object":"Snapshot"}]}},{"name":"options","shape":{"object":"PromoteOptions"}}],"async":true},
    "store.snapshots.diff": {"parameters":[{"name":"from","shape":{"either":["string",{"object":"Container"},{"object":"Snapshot"}]}},{"name":"to","shape":{"either":["string",{"object":"Container"},{"object":"Snapshot"}]},"optional":true}],"async":true},
    "store.snapshots.squash": {"parameters":[{"name":"from","shape":{"either":["string",{"object":"Snapshot"}]}},{"name":"to","shape":{"either":["string",{"object":"Snapshot"}]}},{"name":"options","shape":{"object":"SquashOptions"},"optional":true}],"async":true},
    "store.snapshots.commit": {"parameters":[{"name":"ref","shape":{"either":["string",{"object":"Snapshot"}]}},{"name":"options","shape":{"object":"CommitOptions & NameOptions"},"optional":true}],"async":true},
    "store.snapshots.remove": {"parameters":[{"name":"ref","shape":{"either":["string",{"object":"Snapshot"}]}},{"name":"options","shape":{"object":"options"},"optional":true}],"async":true},
  },
  objects: {
    "Container": {"keys":{"id":"string","name":"string","imageId":"string","imageName":"string","created":"string","command":{"list":"string"},"config":{"object":"ContainerConfig"},"state":{"one":["created","running","paused","restarting","exited","dead"]},"exitCode":"number","finished":"string","mountId":"string","initId":"string","parent":"string"},"required":["id","name","imageName","created","command","config","state","exitCode","mountId"]},
    "ContainerConfig": {"keys":{"Hostname":"string","Domainname":"string","User":"string","AttachStdin":"boolean","AttachStdout":"boolean","AttachStderr":"boolean","ExposedPorts":{"either":["null",{"list":"string"}]},"Tty":"boolean","OpenStdin":"boolean","StdinOnce":"boolean","Env":{"either":["null",{"list":"string"}]},"Cmd":{"either":["null",{"list":"string"}]},"Healthcheck":{"either":["null",{"object":"HealthConfig"}]},"ArgsEscaped":"boolean","Image":"string","Volumes":{"either":["null",{"list":"string"}]},"WorkingDir":"string","Entrypoint":{"either":["null",{"list":"string"}]},"NetworkDisabled":"boolean","MacAddress":"string","OnBuild":{"either":["null",{"list":"string"}]},"Labels":{"either":["null",{"object":"ReadonlyMap"}]},"StopSignal":"string","StopTimeout":{"either":["null","number","bigint"]},"Shell":{"either":["null",{"list":"string"}]}},"required":["Hostname","Domainname","User","AttachStdin","AttachStdout","AttachStderr","ExposedPorts","Tty","OpenStdin","StdinOnce","Env","Cmd","Healthcheck","ArgsEscaped","Image","Volumes","WorkingDir","Entrypoint","NetworkDisabled","MacAddress","OnBuild","Labels","StopSignal","StopTimeout","Shell"]},
    "HealthConfig": {"keys":{"Test":{"either":["null",{"list":"string"}]},"Interval":{"either":["number","bigint"]},"Timeout":{"either":["number","bigint"]},"StartPeriod":{"either":["number","bigint"]},"StartInterval":{"either":["number","bigint"]},"Retries":{"either":["number","bigint"]}},"required":["Test","Interval","Timeout","StartPeriod","StartInterval","Retries"]},
    "ReadonlyMap": {"methods":["forEach","get","has","entries","keys","values","@@iterator"]},
    "SnapshotOptions": {"keys":{"name":"string","labels":{"map":"string"},"expires":"string","mode":{"one":["auto","seal","copy"]},"freeze":"boolean","durable":"boolean","signal":{"object":"AbortSignal"}}},
    "AbortSignal": {"methods":["throwIfAborted","addEventListener","dispatchEvent","removeEventListener"]},
    "ListSnapshotsOptions": {"keys":{"container":{"either":["string",{"object":"Container"}]},"label":{"list":"string"},"notLabel":{"list":"string"}}},
    "Snapshot": {"keys":{"id":"string","name":"string","labels":{"map":"string"},"created":"string","expires":"string","parent":"string","depth":"number","containerId":"string","containerName":"string","imageId":"string","imageName":"string","layer":"string","method":{"one":["sealed","copied"]},"consistency":{"one":["quiescent","frozen","crash"]},"bytes":"number","generation":"number"},"required":["id","labels","created","depth","containerId","containerName","imageName","method","consistency","bytes","generation"]},
    "ForkOptions": {"keys":{"count":"number","name":"string","labels":{"map":"string"},"durable":"boolean","signal":{"object":"AbortSignal"}}},
    "RollbackOptions": {"keys":{"keep":"boolean","force":"boolean","signal":{"object":"AbortSignal"}}},
    "PromoteOptions": {"keys":{"onto":{"either":["string",{"object":"Container"}]},"signal":{"object":"AbortSignal"}},"required":["onto"]},
    "SquashOptions": {"keys":{"name":"string","labels":{"map":"string"},"signal":{"object":"AbortSignal"}}},
    "CommitOptions & NameOptions": {"keys":{"author":"string","message":"string","config":{"object":"ContainerConfig"},"changes":{"list":"string"},"sourceDateEpoch":"number","signal":{"object":"AbortSignal"},"onProgress":"function","reference":"string"}},
    "options": {"keys":{"signal":{"object":"AbortSignal"}}},
  },
});
