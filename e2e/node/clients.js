// The published TypeScript client: one producer through one replica, two followers and a reader through another.
//
//   node clients.js URL-TO-WRITE-TO URL-TO-READ-FROM MESSAGES
//
// Ends well if every message was acknowledged, and each follower got all of them in order, none twice, and the end.
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";

const [writeUrl, readUrl, messages] = process.argv.slice(2);
const count = Number(messages);

async function follow(live) {
  const response = await stream({ url: readUrl, offset: "-1", live });
  const seen = [];
  for await (const message of response.jsonStream()) seen.push(message.number);
  return seen;
}

const handle = await DurableStream.create({ url: writeUrl, contentType: "application/json" });
const followers = [follow("sse"), follow("long-poll")];

const failures = [];
const producer = new IdempotentProducer(handle, "counting", {
  lingerMs: 2,
  onError: (error) => failures.push(error),
});
for (let number = 0; number < count; number += 1) {
  producer.append(JSON.stringify({ number }));
  // So that it takes a while, and many batches.
  if (number % 5 === 4) await pause(10);
}
await producer.close();
assert.deepEqual(failures, []);

const expected = Array.from({ length: count }, (_, number) => number);
for (const seen of await Promise.all(followers)) assert.deepEqual(seen, expected);
const read = await (await stream({ url: readUrl, live: false })).json();
assert.deepEqual(read.map((message) => message.number), expected);
console.log(`${count} messages`);
