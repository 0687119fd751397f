// BullMQ (Redis only): driver, or worker when the first argument says so. Flows are parents with children.
import { createRequire } from "node:module";
import readline from "node:readline";

const require = createRequire(process.env.BENCH_NODE_DIRECTORY + "/");
const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");

const NAME = "bench";
const CONCURRENCY = 100;
const POLL_MS = 10;
const SENT_AT_ONCE = 500;
const url = new URL(process.env.BENCH_STATE_URL);
const connection = { host: url.hostname, port: Number(url.port), db: Number(url.pathname.slice(1)) };
const milliseconds = () => Number(process.hrtime.bigint()) / 1e6;
const times = (count, make) => Array.from({ length: count }, (_, index) => make(index));
const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS));
const noop = (value) => ({ name: "noop", data: { value }, queueName: NAME });
const join = (width) => ({ name: "join", data: {}, queueName: NAME, children: times(width, noop) });

async function perform(job) {
  return job.name === "join" ? Object.keys(await job.getChildrenValues()).length : job.data.value;
}

function work() {
  const worker = new Worker(NAME, perform, { connection: { ...connection, maxRetriesPerRequest: null }, concurrency: CONCURRENCY });
  process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
}

async function inBatches(count, send) {
  for (let first = 0; first < count; first += SENT_AT_ONCE) await send(Math.min(SENT_AT_ONCE, count - first));
}

class Driver {
  constructor() {
    this.queue = new Queue(NAME, { connection });
    this.producer = new FlowProducer({ connection });
    this.events = new QueueEvents(NAME, { connection: { ...connection, maxRetriesPerRequest: null } });
    this.expected = 0;
  }

  async wait() {
    while ((await this.queue.getCompletedCount()) < this.expected) await pause();
  }

  async clear() {
    await this.queue.obliterate({ force: true });
    this.expected = 0;
  }

  async submit(workload, size) {
    const begun = milliseconds();
    await this[workload](size);
    return { seconds: (milliseconds() - begun) / 1e3 };
  }

  async latencies(workload, size) {
    return { seconds: await this[workload](size) };
  }

  async single(count) {
    this.expected += count;
    await inBatches(count, (some) => this.queue.addBulk(times(some, noop)));
  }

  async flows_of_9(count) {
    this.expected += 9 * count;
    await inBatches(count, (some) => this.producer.addBulk(times(some, () => join(8))));
  }

  async fan_in(width) {
    this.expected += width + 1;
    await this.producer.add(join(width));
  }

  async chain(length) {
    let node = noop(0);
    for (let step = 1; step < length; step++) node = { ...noop(step), children: [node] };
    const begun = milliseconds();
    const { job } = await this.producer.add(node);
    await job.waitUntilFinished(this.events);
    return [(milliseconds() - begun) / 1e3 / length];
  }

  async round_trip(count) {
    const seconds = [];
    for (let turn = 0; turn < count; turn++) {
      const begun = milliseconds();
      const job = await this.queue.add("noop", { value: turn });
      await job.waitUntilFinished(this.events);
      seconds.push((milliseconds() - begun) / 1e3);
    }
    return seconds;
  }
}

async function serve() {
  const driver = new Driver();
  await driver.events.waitUntilReady();
  console.log(JSON.stringify({ ready: true }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { op, workload, size } = JSON.parse(line);
    console.log(JSON.stringify((await driver[op](workload, size)) ?? {}));
  }
  process.exit(0);
}

if (process.argv[2] === "work") work();
else await serve();
