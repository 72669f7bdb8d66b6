// Browsers that playwright-core cannot drive as they are: WebKitGTK by its own driver, Firefox by Marionette, which takes
// the commands of WebDriver over a socket. Each browser lives in a directory of its own, and ends with the test.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { until } from './world.js'

const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf' // how WebDriver names one
const MINI_BROWSER = ['/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser', '/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser']

async function freePort () {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  return port
}

function started (home, command, words, environ = {}) {
  const log = fs.openSync(path.join(home, 'browser.txt'), 'a')
  const own = { HOME: home, XDG_RUNTIME_DIR: home, XDG_CACHE_HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home }
  return spawn(command, words, { stdio: ['ignore', log, log, 'pipe'], env: { ...process.env, ...own, LANG: 'C.UTF-8', ...environ }, detached: true })
}

async function ended (child) {
  if (!child || child.exitCode !== null) return
  const gone = once(child, 'exit')
  process.kill(-child.pid, 'SIGKILL') // with all that it started
  await gone
}

/** WebKitGTK, the engine of Safari, in a window of a screen that nobody sees. */
export class WebKit {
  async begin (home) {
    this.screen = started(home, 'Xvfb', ['-displayfd', '3', '-screen', '0', '1000x800x24', '-nolisten', 'tcp'])
    let said = ''
    this.screen.stdio[3].on('data', data => { said += data })
    await until(() => said.endsWith('\n'), 'the screen')
    const port = await freePort()
    this.origin = `http://127.0.0.1:${port}`
    const environ = { DISPLAY: `:${said.trim()}`, GDK_BACKEND: 'x11', LIBGL_ALWAYS_SOFTWARE: '1', WEBKIT_DISABLE_COMPOSITING_MODE: '1' }
    this.driver = started(home, 'WebKitWebDriver', [`--port=${port}`, '--host=127.0.0.1'], environ)
    await until(() => fetch(this.origin + '/status').then(answer => answer.ok, () => false), 'the driver')
    const options = { binary: MINI_BROWSER.find(fs.existsSync), args: ['--automation'] }
    const made = await this.ask('POST', '/session', { capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': options } } })
    this.session = `/session/${made.sessionId}`
  }

  async ask (method, where, body) {
    const answer = await fetch(this.origin + where, { method, body: body && JSON.stringify(body) })
    const { value } = await answer.json()
    if (value?.error) throw new Error(`${value.error}: ${value.message}`)
    return value
  }

  open (url) { return this.ask('POST', this.session + '/url', { url }) }

  run (script, ...args) { return this.ask('POST', this.session + '/execute/sync', { script, args }) }

  find (css) { return this.ask('POST', this.session + '/element', { using: 'css selector', value: css }) }

  type (element, text) { return this.ask('POST', `${this.session}/element/${element[ELEMENT]}/value`, { text }) }

  async end () { await ended(this.driver); await ended(this.screen) }
}

export class Firefox {
  async begin (home) {
    fs.writeFileSync(path.join(home, 'user.js'), [['marionette.port', 0], ['datareporting.policy.dataSubmissionEnabled', false],
      ['app.update.disabledForTesting', true], ['browser.shell.checkDefaultBrowser', false], ['network.captive-portal-service.enabled', false],
      ['intl.accept_languages', 'en-GB'], ['browser.startup.page', 0]].map(each => `user_pref(${each.map(JSON.stringify)});`).join('\n'))
    this.browser = started(home, 'firefox-esr', ['--marionette', '--headless', '--no-remote', '--profile', home])
    const said = path.join(home, 'MarionetteActivePort')
    const port = await until(() => fs.existsSync(said) && fs.readFileSync(said, 'utf8'), 'the browser', 60000)
    this.waiting = new Map()
    this.last = 0
    this.socket = net.connect(Number(port), '127.0.0.1')
    this.listen(this.socket)
    await once(this.socket, 'connect')
    await this.ask('WebDriver:NewSession', {})
  }

  listen (socket) {
    let rest = Buffer.alloc(0)
    socket.on('data', data => {
      rest = Buffer.concat([rest, data])
      for (let colon; (colon = rest.indexOf(':')) > 0;) {
        const end = colon + 1 + Number(rest.subarray(0, colon))
        if (rest.length < end) return
        this.hear(JSON.parse(rest.subarray(colon + 1, end)))
        rest = rest.subarray(end)
      }
    })
    socket.on('error', () => {}) // the browser was ended
  }

  hear (message) {
    if (!Array.isArray(message)) return // its greeting
    const [, number, error, result] = message
    const { resolve, reject } = this.waiting.get(number)
    if (error) reject(new Error(`${error.error}: ${error.message}`))
    else resolve(result && 'value' in result ? result.value : result)
  }

  ask (name, words) {
    const text = Buffer.from(JSON.stringify([0, ++this.last, name, words]))
    this.socket.write(Buffer.concat([Buffer.from(`${text.length}:`), text]))
    return new Promise((resolve, reject) => this.waiting.set(this.last, { resolve, reject }))
  }

  open (url) { return this.ask('WebDriver:Navigate', { url }) }

  run (script, ...args) { return this.ask('WebDriver:ExecuteScript', { script, args }) }

  find (css) { return this.ask('WebDriver:FindElement', { using: 'css selector', value: css }) }

  type (element, text) { return this.ask('WebDriver:ElementSendKeys', { id: element[ELEMENT], text }) }

  async end () { this.socket?.destroy(); await ended(this.browser) }
}

/** The upload page in one of these browsers, in the words of a `Visit`. */
export class Guest {
  constructor (driver) { Object.assign(this, { driver, complaints: [] }) }

  async choose (...files) { await this.driver.type(await this.driver.find('#file'), files.join('\n')) }

  /** The text of the file's status; "" if it is not listed. */
  status (name) {
    return this.driver.run(`const row = [...document.querySelectorAll('#list li, #links li, #left li')].find(row => row.textContent.includes(arguments[0]))
      return row?.querySelector('.status')?.textContent ?? ''`, name)
  }

  async shows (name, text, within = 60000) {
    let said
    await until(async () => text.test(said = await this.status(name)), `${name} shows ${text}`, within)
      .catch(error => { throw new Error(`${error.message}; it shows ${said}`) })
  }

  async click (name, text) {
    const pressed = await this.driver.run(`const row = [...document.querySelectorAll('#list li, #links li')].find(row => row.textContent.includes(arguments[0]))
      const button = [...row.querySelectorAll('button')].find(button => button.textContent.trim().startsWith(arguments[1]) || button.ariaLabel?.startsWith(arguments[1]))
      button?.click()
      return Boolean(button)`, name, text)
    assert.ok(pressed, `${name} has a button ${text}`)
  }
}
