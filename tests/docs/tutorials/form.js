// A visitor at the form of a tutorial: chooses a film, loses the connection on the way, and reads that it has arrived.
// Run by test_tutorials.py: node form.js PLAN
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { World, until } from '../../site/js/world.js'

const SCRIPT = new URL('../../../tus/site/static/vendor/tus.min.js', import.meta.url)
const plan = JSON.parse(process.argv[2])
const world = new World(plan)
world.server = world.network.server = { port: plan.port, start () {}, kill () {} }

/** The most bytes that lie in a file of the server's directory. */
const stored = () => fs.existsSync(plan.uploads) && Math.max(0, ...fs.readdirSync(plan.uploads).map(name => {
  return fs.statSync(path.join(plan.uploads, name), { throwIfNoEntry: false })?.size || 0
}))

async function send () {
  const visit = await world.begin({ extraHTTPHeaders: plan.headers })
  await world.context.route('https://cdn.jsdelivr.net/**', route => route.fulfill({
    contentType: 'text/javascript', body: fs.readFileSync(SCRIPT)
  }))
  const offsets = []
  visit.page.on('request', async request => {
    if (request.method() === 'PATCH') offsets.push(Number((await request.allHeaders())['upload-offset']))
  })
  await visit.page.goto(world.network.origin + plan.path)
  world.network.rate = 3_000_000

  await visit.page.setInputFiles('#film', plan.file)
  // What the bar shows may still be in the system's buffers.
  await until(() => stored() > 1_000_000, 'some of it is stored', 60000)
  for (const { near, far } of world.network.pairs) { near.destroy(); far.destroy() }
  await until(async () => /has arrived/.test(await visit.page.locator('#said').textContent()), 'it has arrived', 60000)

  assert.ok(offsets.at(-1) > 0, `the rest is sent, and not all of it: ${offsets}`)
  assert.deepEqual(visit.complaints, [])
}

let code = 0
try { await send() } catch (error) { console.error(error); code = 1 }
await world.end()
process.exit(code)
