// Drives one official SDK, unmodified, as an app would, and tells what the SDK
// said of each event.
//
// Standard input: {sdk, url, events, every, gzip, batch, leave, options}
//   sdk      cdp | pipelines | segment | rudder
//   url      where the SDK sends, without the path /v1
//   events   track calls and others: {type, ...fields}; each has a userId
//   every    milliseconds between two calls; 0: at once
//   gzip     compress, where the SDK lets its fetch be replaced
//   batch    hand all events over in one call, where the SDK has one
//   leave    do not close the SDK at the end, only wait for its answers
//   options  settings of the SDK beyond address and key
// Standard output, a JSON object a line:
//   {"made":userId}                                  when the call was made
//   {"user","id","ok","error","ms"}                  when the SDK had its answer
//   {"done":true}                                    when it had all
import { gzipSync } from 'node:zlib'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { Analytics as CustomerIO } from '@customerio/cdp-analytics-node'
import { Analytics as Segment } from '@segment/analytics-node'
import { PipelinesClient } from 'customerio-node'
import rudderstack from '@rudderstack/rudder-sdk-node'

const plan = JSON.parse(await text(process.stdin))
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

// reason digs out what fetch hides behind "fetch failed".
function reason(err) {
  if (!err) return undefined
  const cause = err.cause?.code ?? err.cause?.message
  return cause ? `${err.message}: ${cause}` : String(err.message ?? err)
}

const gzipped = (url, init) =>
  fetch(url, { ...init, body: gzipSync(init.body), headers: { ...init.headers, 'Content-Encoding': 'gzip' } })

// The two analytics SDKs share their shape: a call returns at once, a callback
// tells the end.
function analytics(Kind, settings) {
  const client = new Kind({ writeKey: 'any', host: plan.url, ...settings, ...plan.options })
  client.on('error', () => {}) // told to the callback as well
  const calls = []
  return {
    call({ type, ...fields }, told) {
      calls.push(new Promise((resolve) => client[type](fields, (err, ctx) => {
        told(err, ctx?.event?.messageId)
        resolve()
      })))
    },
    async end() {
      if (!plan.leave) await client.closeAndFlush({ timeout: 0 })
      await Promise.all(calls)
    },
  }
}

// The third answers a promise, one request a call.
function pipelines() {
  const client = new PipelinesClient('any', { url: `${plan.url}/v1`, ...plan.options })
  const calls = []
  return {
    call({ type, ...fields }, told) {
      calls.push(client[type](fields).then(() => told(), told))
    },
    batch(events, told) {
      calls.push(client.batch(events).then(() => told(), told))
    },
    end: () => Promise.all(calls),
  }
}

// The fourth answers a callback too, and sends what it holds when it is flushed.
function rudder() {
  const Kind = rudderstack.default ?? rudderstack
  const client = new Kind('any', { dataPlaneUrl: plan.url, logLevel: 'error', ...plan.options })
  const calls = []
  return {
    call({ type, ...fields }, told) {
      calls.push(new Promise((resolve) => client[type](fields, (err) => {
        told(err)
        resolve()
      })))
    },
    async end() {
      await client.flush()
      await Promise.all(calls)
    },
  }
}

const sdk = {
  cdp: () => analytics(CustomerIO),
  segment: () => analytics(Segment, plan.gzip ? { httpClient: gzipped } : {}),
  pipelines,
  rudder,
}[plan.sdk]()

function report(user) {
  const begun = performance.now()
  say({ made: user })
  return (err, id) => say({ user, id, ok: !err, error: reason(err), ms: Math.round(performance.now() - begun) })
}

if (plan.batch) {
  const reports = plan.events.map((e) => report(e.userId))
  sdk.batch(plan.events, (err) => reports.forEach((tell) => tell(err)))
} else {
  for (const event of plan.events) {
    sdk.call(event, report(event.userId ?? event.anonymousId))
    if (plan.every) await pause(plan.every)
  }
}
await sdk.end()
say({ done: true })
