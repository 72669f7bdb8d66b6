// What the scenarios play in: a real server that can be killed, a network that can be slow or freeze, a browser.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync']
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

export async function until (true_, what = 'it', within = 15000) {
  const end = Date.now() + within
  for (let said; ;) {
    if ((said = await true_())) return said
    if (Date.now() > end) throw new Error(`${what}: still not so after ${within} ms`)
    await sleep(20)
  }
}

export const digest = content => createHash('sha256').update(content).digest('hex')

/** A server in a process of its own. */
export class Server {
  constructor (python, home, args) {
    Object.assign(this, { python, home, args, port: 0 })
    this.uploads = path.join(home, 'uploads')
  }

  async start () {
    const words = ['-m', 'tus', 'serve', this.uploads, '--port', String(this.port), ...this.args]
    this.process = spawn(this.python, words, { stdio: ['ignore', 'pipe', fs.openSync(path.join(this.home, 'log.txt'), 'a')] })
    this.said = ''
    this.process.stdout.on('data', data => { this.said += data })
    const [, port] = await until(() => this.said.match(/:(\d+)/), 'the server listens')
    this.port = Number(port)
    this.origin = `http://127.0.0.1:${port}`
  }

  /** The operators' page, with the token that lets them in. */
  async operators () { return (await until(() => this.said.match(/(\/~tus\/operators\/\S+)\n/), 'the link'))[1] }

  async kill () {
    const ended = once(this.process, 'exit')
    this.process.kill('SIGKILL')
    await ended
  }

  /** Digests of the finished files. */
  files () {
    return fs.readdirSync(this.uploads).filter(name => /^[0-9a-f]{32}$/.test(name))
      .filter(name => JSON.parse(fs.readFileSync(path.join(this.uploads, `${name}.info`))).tus.complete)
      .map(name => digest(fs.readFileSync(path.join(this.uploads, name)))).sort()
  }
}

/** A network between browser and server: as slow as one likes, and it can freeze without a word. */
export class Network {
  constructor (server) {
    this.server = server; this.rate = this.most = Infinity; this.pairs = new Set(); this.holding = false
    this.listener = net.createServer(socket => this.connect(socket))
  }

  async open () {
    this.listener.listen(0, '127.0.0.1')
    await once(this.listener, 'listening')
    this.origin = `http://127.0.0.1:${this.listener.address().port}`
  }

  connect (near) {
    const far = net.connect(this.server.port, '127.0.0.1')
    const pair = { near, far, frozen: false, held: [] }
    this.pairs.add(pair)
    near.on('data', data => {
      if (pair.frozen || pair.refused) return
      const [, length] = /^PATCH .*?\ncontent-length: (\d+)/is.exec(data.toString('latin1')) || []
      if (length > this.most) {
        pair.refused = true
        near.end('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        return
      }
      far.write(data)
      if (this.rate === Infinity) return
      near.pause()
      setTimeout(() => { if (!pair.frozen) near.resume() }, data.length / this.rate * 1000)
    })
    far.on('data', data => {
      if (pair.frozen || pair.refused) return
      if (this.holding) pair.held.push(data)
      else near.write(data)
    })
    const end = () => { if (!pair.frozen) { near.destroy(); far.destroy() } this.pairs.delete(pair) }
    for (const socket of [near, far]) { socket.on('error', end); socket.on('close', end) }
  }

  /** What is connected now hears and says nothing more; who comes later is well. */
  freeze () { for (const pair of this.pairs) { pair.frozen = true; pair.near.pause() } }

  hold () { this.holding = true }

  release () {
    this.holding = false
    for (const pair of this.pairs) for (const data of pair.held.splice(0)) pair.near.write(data)
  }

  close () {
    this.listener.close()
    for (const { near, far } of this.pairs) { near.destroy(); far.destroy() }
  }
}

/** One page in a browser, and what it asked the server for. */
export class Visit {
  constructor (page) {
    this.page = page; this.requests = []; this.complaints = []
    page.on('request', request => this.requests.push(`${request.method()} ${new URL(request.url()).pathname}`))
    page.on('console', message => {
      if (/Content Security Policy|is not|Uncaught|violat/i.test(message.text())) this.complaints.push(message.text())
    })
    page.on('filechooser', () => {}) // from now on, so that none opens before somebody waits for it
    page.on('pageerror', error => this.complaints.push(String(error)))
  }

  count (method) { return this.requests.filter(line => line.startsWith(`${method} /files`)).length }

  row (name) { return this.page.locator('#list li, #links li', { hasText: name }) }

  status (name) { return this.row(name).locator('.status') }

  async choose (...files) { await this.page.setInputFiles('#file', files) }

  async shows (name, text, within = 20000) {
    await until(async () => (await this.status(name).textContent()).match(text), `${name} shows ${text}`, within)
  }

  async click (name, text) { await this.row(name).getByRole('button', { name: new RegExp(`^${text}`) }).click() }

  /** What axe-core finds wrong with the page as it is. */
  async flaws () {
    if (!await this.page.evaluate(() => window.axe)) await this.page.evaluate(fs.readFileSync(axe, 'utf8'))
    const found = await this.page.evaluate(() => window.axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
    }))
    return found.violations.map(flaw => `${flaw.id}: ${flaw.nodes.map(node => node.target).join(' ')}`)
  }

  /** Whether anything sticks out to the side. */
  async overflows () {
    return await this.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)
  }
}

export class World {
  constructor (plan) {
    this.home = plan.home
    this.server = new Server(plan.python, plan.home, plan.serve || [])
    this.network = new Network(this.server)
  }

  async begin (options = {}) {
    await this.server.start()
    await this.network.open()
    this.browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: FLAGS })
    this.context = await this.browser.newContext({ locale: 'en-GB', viewport: { width: 1000, height: 800 }, ...options })
    return await this.visit()
  }

  async visit (where = '/', origin = this.network.origin) {
    const visit = new Visit(await this.context.newPage())
    await visit.page.goto(origin + where)
    return visit
  }

  /** A file of so many bytes, no two blocks of which are alike. */
  file (name, bytes) {
    const target = path.join(this.home, 'files', name)
    fs.mkdirSync(path.dirname(target), { recursive: true })
    const block = Buffer.alloc(Math.min(bytes, 1 << 20))
    for (let i = 0; i < block.length; i++) block[i] = (i * 2654435761 >>> 13) & 255
    const file = fs.openSync(target, 'w')
    for (let left = bytes, n = 0; left > 0; left -= block.length, n++) {
      block.writeUInt32LE(n, 0)
      fs.writeSync(file, block, 0, Math.min(left, block.length))
    }
    fs.closeSync(file)
    return target
  }

  async end () {
    await this.browser?.close()
    this.network.close()
    await this.server.kill()
  }
}

/** Plays the scenario that the command line names, or lists them all. */
export async function play (scenarios, Kind = World) {
  const [name, plan] = process.argv.slice(2)
  if (name === '--list') { console.log(JSON.stringify(Object.keys(scenarios))); return }
  const world = new Kind(JSON.parse(plan))
  let code = 0
  try {
    const visit = await scenarios[name](world)
    if (visit.complaints.length) throw new Error(visit.complaints.join('\n'))
  } catch (error) {
    console.error(error)
    code = 1
  }
  await world.end()
  process.exit(code)
}
