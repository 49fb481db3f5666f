export { FakeClock } from './fake-clock.ts';
export {
  FaultyClient,
  type ClientFault,
  type ClientFaultKind,
  type ClientOperation,
  type FaultyClientOptions,
} from './faulty-client.ts';
export { FaultyFileSystem, SimulatedCrash, type FaultPoint } from './faulty-file-system.ts';
export { chunkedSource, fileKey, listAll, ltxLike } from './ltx-like.ts';
export {
  MemoryClient,
  type MemoryClientOptions,
  type MemoryObject,
  type MemoryStore,
} from './memory-client.ts';
export { randomNumbers } from './random.ts';
export { RecordedMetrics } from './recorded-metrics.ts';
export {
  replicaClientSuite,
  type SuiteCapabilities,
  type SuiteFactory,
  type SuiteRemote,
} from './replica-client-suite/index.ts';
export { skipSuite } from './required-suites.ts';
