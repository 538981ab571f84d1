// Best-effort FIFO with best-fit as a policy in another process: `--policy 'process:node best-fit.mjs'`.
// Tries the waiting jobs in the order of arrival, and starts each that fits on the servers with the least left.
import { createInterface } from "node:readline";

const hello = {
  type: "hello",
  protocol: 1,
  name: "best-fit.mjs 1",
  semantics: {
    order: "arrival",
    blocking: "skips jobs that do not fit, without reservation",
    placement: "best-fit",
  },
};

let servers = []; // what is left of each
let requests = new Map(); // what jobs ask for, by number
let waiting = []; // jobs, in the order of arrival
let noRoom = new Set(); // requests that did not fit, true until something is released

const idle = (server) => server.left_milli.filter((left) => left === 1000).length;
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const enough = (left, needed) => left === null || left >= needed;

/** Whether one pod of a group fits on a server as it is. */
function fits(server, group, milli) {
  return (
    server.left_milli.filter((left) => left >= milli).length >= group.devices &&
    enough(server.cpu_milli, group.cpu_milli) &&
    enough(server.memory_mib, group.memory_mib) &&
    enough(server.pods, 1)
  );
}

/** The server without what one pod takes: of its devices, those with the least that suffices. */
function without(server, group, milli) {
  const left = [...server.left_milli].sort((a, b) => a - b);
  const first = left.findIndex((each) => each >= milli);
  for (let taken = 0; taken < group.devices; taken++) left[first + taken] -= milli;
  const less = (amount, part) => (amount === null ? null : amount - part);
  return {
    node: server.node,
    left_milli: left,
    cpu_milli: less(server.cpu_milli, group.cpu_milli),
    memory_mib: less(server.memory_mib, group.memory_mib),
    pods: less(server.pods, 1),
  };
}

/** Where a whole gang goes, pod by pod, or null. The driver chooses the devices. */
function place(request) {
  const milli = request.device_milli;
  const rest = request.eligible ?? [[0, servers.length - 1]];
  const draft = rest.flatMap(([first, last]) => servers.slice(first, last + 1));
  const shares = [];
  for (const [number, group] of request.gang.entries()) {
    for (let pod = 0; pod < group.pods; pod++) {
      let best = -1;
      let least = Infinity;
      for (const [at, server] of draft.entries()) {
        const left = milli === 1000 ? idle(server) : sum(server.left_milli);
        if (left < least && fits(server, group, milli)) [best, least] = [at, left];
      }
      if (best < 0) return null;
      const [node, last] = [draft[best].node, shares.at(-1)];
      if (request.plain && last?.node === node && last.group === number) last.pods++;
      else shares.push({ node, pods: 1, group: number });
      draft[best] = without(draft[best], group, milli);
    }
  }
  return shares;
}

/** Bring the books up to date. */
function learn(message) {
  for (const request of message.requests) requests.set(request.request, request);
  for (const server of message.servers) servers[server.node] = server;
  for (const { change, job, job_id } of message.changes) {
    if (change === "ended" || change === "preempted") noRoom = new Set();
    if (job) waiting.push(job);
    else waiting = waiting.filter((each) => each.job_id !== job_id);
    if (change === "preempted") waiting.sort((a, b) => a.arrival - b.arrival);
  }
}

/** The next job to start, as an action; none if nothing fits any more. */
function decide() {
  for (const job of waiting) {
    if (noRoom.has(job.request)) continue;
    const placement = place(requests.get(job.request));
    if (placement) return [{ action: "start", job_id: job.job_id, placement }];
    noRoom.add(job.request);
  }
  return [];
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.type === "bye") break;
  if (message.type === "cluster") [servers, requests, waiting, noRoom] = [[], new Map(), [], new Set()];
  let answer = message.type === "hello" ? hello : null;
  if (message.type === "pass") {
    learn(message);
    const actions = decide();
    answer = { type: "actions", seq: message.seq, actions, more: actions.length > 0 };
  }
  if (answer) process.stdout.write(JSON.stringify(answer) + "\n");
}
