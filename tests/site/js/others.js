// What people do on the upload page in the browsers of others: node others.js SCENARIO PLAN, where the plan names the browser
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { Firefox, Guest, WebKit } from './drivers.js'
import { World, digest, play, until } from './world.js'

const MB = 1_000_000
const BROWSERS = { WebKit, Firefox }
const sums = files => files.map(file => digest(fs.readFileSync(file))).sort()

class Abroad extends World {
  constructor (plan) {
    super(plan)
    this.driver = new BROWSERS[plan.browser]()
    this.freezes = plan.browser === 'WebKit'
  }

  async begin () {
    await this.server.start()
    await this.network.open()
    const home = path.join(this.home, 'browser')
    fs.mkdirSync(home, { mode: 0o700 })
    await this.driver.begin(home)
    await this.driver.open(this.network.origin + '/')
    // What is handed to send(), with its size.
    await this.driver.run(`const { send } = XMLHttpRequest.prototype
      window.sent = []
      XMLHttpRequest.prototype.send = function (body) {
        if (body) window.sent.push([body.constructor.name, body.size ?? body.byteLength])
        return send.call(this, body)
      }`)
    return new Guest(this.driver)
  }

  sent () { return this.driver.run('return window.sent') }

  async end () {
    await this.driver.end()
    await super.end()
  }
}

/** A file that is on its way, with so many bytes a second. */
async function sending (world, name, rate) {
  const guest = await world.begin()
  world.network.rate = rate
  const file = world.file(name, 30 * MB)
  await guest.choose(file)
  await guest.shows(name, /^[1-9]\d? %/)
  return { guest, file }
}

export const scenarios = {
  async 'files arrive whole' (world) {
    const guest = await world.begin()
    const files = [world.file('small.txt', 1000), world.file('large.bin', 20 * MB), world.file('empty.txt', 0)]

    await guest.choose(...files)
    for (const name of ['small.txt', 'large.bin', 'empty.txt']) await guest.shows(name, /^Done/)

    assert.deepEqual(world.server.files(), sums(files))
    return guest
  },

  async 'what is handed to send() is in memory where the engine freezes on files, and is a file elsewhere' (world) {
    const guest = await world.begin()
    const file = world.file('film.bin', 20 * MB)

    await guest.choose(file)
    await guest.shows('film.bin', /^Done/)

    const pieces = [8 << 20, 8 << 20, 20 * MB - (16 << 20)].map(size => ['ArrayBuffer', size])
    assert.deepEqual(await world.sent(), world.freezes ? pieces : [['Blob', 20 * MB]])
    assert.deepEqual(world.server.files(), sums([file]))
    return guest
  },

  async 'a killed server is waited for' (world) {
    const { guest, file } = await sending(world, 'killed.bin', 4 * MB)

    await world.server.kill()
    await guest.shows('killed.bin', /Connection lost/)
    world.network.rate = Infinity
    await world.server.start()
    await guest.shows('killed.bin', /^Done/)

    assert.deepEqual(world.server.files(), sums([file]))
    return guest
  },

  async 'a pause stops the upload, and it goes on' (world) {
    const { guest, file } = await sending(world, 'paused.bin', 4 * MB)

    await guest.click('paused.bin', 'Pause')
    await guest.shows('paused.bin', /^Paused/)
    world.network.rate = Infinity
    await guest.click('paused.bin', 'Resume')
    await guest.shows('paused.bin', /^Done/)

    assert.deepEqual(world.server.files(), sums([file]))
    return guest
  },

  async 'after a reload the same file goes on' (world) {
    const { guest, file } = await sending(world, 'reloaded.bin', 4 * MB)

    await until(() => fs.readdirSync(world.server.uploads).some(name => fs.statSync(path.join(world.server.uploads, name)).size > MB), 'a part')
    await world.driver.open(world.network.origin + '/')
    await guest.shows('reloaded.bin', /\d+ % of 30 MB have arrived/)
    world.network.rate = Infinity
    await guest.choose(file)
    await guest.shows('reloaded.bin', /^Done/)

    assert.deepEqual(world.server.files(), sums([file]))
    assert.equal(fs.readdirSync(world.server.uploads).filter(name => /^[0-9a-f]{32}$/.test(name)).length, 1)
    return guest
  },

  async 'cancelling removes the upload' (world) {
    const { guest } = await sending(world, 'cancelled.bin', 2 * MB)

    await guest.click('cancelled.bin', 'Cancel')

    await until(() => !fs.readdirSync(world.server.uploads).some(name => /^[0-9a-f]{32}$/.test(name)), 'it is gone')
    assert.equal(await guest.status('cancelled.bin'), '')
    return guest
  }
}

await play(scenarios, Abroad)
