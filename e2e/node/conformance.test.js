// The published conformance suite, against the replica whose address is given.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

const baseUrl = process.env.QUORATE_STREAMS;
if (!baseUrl) throw new Error("QUORATE_STREAMS names the address under which streams are");
runConformanceTests({ baseUrl, longPollTimeoutMs: 10_000 });
