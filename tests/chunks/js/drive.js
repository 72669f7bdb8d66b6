// Chromium, driven by lines of JSON: each is a plan, and each is answered by a line that says what came of it. Between
// the browser and the server stands a wire that can be cut or stopped after so many bytes.

import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { buildSync } from 'esbuild'
import { chromium } from 'playwright-core'

const require = createRequire(import.meta.url)
const here = new URL('.', import.meta.url).pathname
const modules = `${here}node_modules/`
const sources = {
  flow: '@flowjs/flow.js/dist/flow.js',
  resumable: 'resumablejs/resumable.js',
  simple: 'simple-uploader.js/dist/uploader.js',
  dropzone: 'dropzone/dist/dropzone-min.js',
  plupload: 'plupload/js/plupload.full.min.js',
  filepond: 'filepond/dist/filepond.js',
}
const html = `<!doctype html><meta charset=utf-8><title>page</title>
<form id=plain method=post enctype=multipart/form-data target=frame><input id=files name=file type=file multiple></form>
<iframe name=frame></iframe><div id=drop></div><button id=pick>pick</button><input id=pond type=file name=filepond>`

const PATIENCE = 20000 // milliseconds for one plan

let bundled
const uppy = () => {
  bundled ??= buildSync({
    stdin: {
      contents: `import Uppy from '@uppy/core'; import XHRUpload from '@uppy/xhr-upload'; Object.assign(window, {Uppy, XHRUpload})`,
      resolveDir: here,
    },
    bundle: true, format: 'iife', write: false, logLevel: 'error',
  }).outputFiles[0].text
  return bundled
}

/** Forwards to the server; after `cut` bytes one connection dies, after `stop` bytes nothing gets through any more. */
const wire = (port, faults) => new Promise((resolve) => {
  const state = { sent: 0, cut: faults.cut ?? Infinity, stop: faults.stop ?? Infinity, stopped: false, all: new Set() }
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1')
    state.all.add(client)
    const end = () => { client.destroy(); upstream.destroy(); state.all.delete(client) }
    for (const side of [client, upstream]) side.on('error', end).on('close', end)
    client.on('data', (data) => {
      state.sent += data.length
      if (state.sent >= state.stop) state.stopped = true
      if (state.stopped) return
      if (state.sent >= state.cut) {
        state.cut = Infinity
        upstream.write(data.subarray(0, data.length >> 1), () => setTimeout(end, 20))
        return
      }
      upstream.write(data)
    })
    upstream.on('data', (data) => client.write(data))
  })
  state.close = () => { for (const client of state.all) client.destroy(); server.close() }
  server.listen(0, '127.0.0.1', () => { state.port = server.address().port; resolve(state) })
})

const open = async (page, origin, plan) => {
  await page.goto(`${origin}/the-page`)
  if (plan.library === 'uppy') await page.addScriptTag({ content: uppy() })
  else if (sources[plan.library]) await page.addScriptTag({ path: modules + sources[plan.library] })
  if (plan.library === 'dropzone') await page.evaluate('Dropzone.autoDiscover = false')
  await page.addScriptTag({ path: `${here}page.js` })
  await page.setInputFiles('#files', plan.files)
}

const start = (page, plan, origin) => page.evaluate(([library, given]) => window.run(library, given), [
  plan.library,
  {
    target: origin + plan.path + plan.place, progress: `${origin}${plan.path}/progress`,
    chunkSize: plan.chunkSize, options: plan.options ?? {},
  },
])

const until = async (true_) => {
  for (const end = Date.now() + 10000; !true_();) {
    if (Date.now() > end) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const carryOut = async (browser, plan) => {
  const context = await browser.newContext()
  await context.addCookies(plan.cookies ?? [])
  const link = await wire(plan.port, plan)
  const origin = `http://127.0.0.1:${link.port}`
  const requests = []
  try {
    const page = await context.newPage()
    page.on('pageerror', (error) => requests.push({ method: 'error', error: String(error) }))
    page.on('response', (response) => {
      const request = response.request()
      const url = new URL(request.url())
      if (url.pathname.startsWith(plan.path)) {
        requests.push({ method: request.method(), path: url.pathname, query: url.search, status: response.status() })
      }
    })
    await page.route('**/the-page', (route) => route.fulfill({ contentType: 'text/html', body: html }))
    await page.route('**/favicon.ico', (route) => route.abort())
    await open(page, origin, plan)
    if (plan.stop) {
      start(page, plan, origin).catch(() => {})
      await until(() => link.stopped)
      await page.goto('about:blank')
      for (const client of link.all) client.destroy()
      link.stop = Infinity
      link.stopped = false
      requests.push({ reloaded: true })
      await open(page, origin, plan)
    }
    const late = new Promise((_, reject) => setTimeout(reject, PATIENCE, new Error(`no end: ${JSON.stringify(requests)}`)))
    const said = await Promise.race([start(page, plan, origin), late])
    if (plan.revert) {
      await page.evaluate('pond.removeFile(pond.getFiles()[0].id, { revert: true })')
      await until(() => requests.some((request) => request.method === 'DELETE'))
    }
    return { said, requests, cookies: await context.cookies() }
  } finally {
    link.close()
    await context.close()
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const plan = JSON.parse(line)
    // Each visitor has a browser profile of its own, and all begin at once.
    answer = plan.visitors
      ? { visitors: await Promise.all(plan.visitors.map(files => carryOut(browser, { ...plan, files }))) }
      : await carryOut(browser, plan)
  } catch (error) {
    answer = { error: String(error) }
  }
  console.log(JSON.stringify(answer))
}
await browser.close()
process.exit() // whatever timer or socket is left
