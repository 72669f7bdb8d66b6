// The page's pure functions. Run by npm test, and by tests/site/test_browser.py.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allowed, duration, percent, phrases, size, speed } from '../../../tus/site/static/format.js'
import { freezes } from '../../../tus/site/static/safari.js'

test('what freezes is Safari 26 and later, and every browser of an iPhone that hides its version', () => {
  const mac = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)'
  const phone = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)'
  for (const agent of [`${mac} Version/26.0 Safari/605.1.15`, `${phone} Version/27.1 Mobile/15E148 Safari/604.1`, `${phone} CriOS/143.0 Mobile/15E148 Safari/604.1`]) assert.ok(freezes(agent), agent)
  for (const agent of [`${mac} Version/18.6 Safari/605.1.15`, `${mac} Chrome/143.0 Safari/537.36`, 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0']) assert.ok(!freezes(agent), agent)
})

test('sizes have one digit where it says something', () => {
  const cases = { 0: '0 B', 999: '999 B', 1000: '1 kB', 1500: '1.5 kB', 9960: '10 kB', 999_499: '999 kB', 999_500: '1 MB', 2.5e9: '2.5 GB', 5e15: '5,000 TB' }
  for (const [bytes, text] of Object.entries(cases)) assert.equal(size(Number(bytes), 'en'), text)
  assert.equal(size(1500, 'de'), '1,5 kB')
})

test('times are rounded as people round them', () => {
  const cases = { 0: '1 s', 0.2: '1 s', 41.2: '42 s', 60: '1 min', 150: '3 min', 3600: '1.0 h', 5400: '1.5 h' }
  for (const [seconds, text] of Object.entries(cases)) assert.equal(duration(Number(seconds)), text)
})

test('100 per cent means that nothing is left', () => {
  assert.equal(percent(999, 1000), 99)
  assert.equal(percent(1000, 1000), 100)
  assert.equal(percent(0, 0), 100)
})

test('phrases know one and many', () => {
  const t = phrases({ files: '1 file of {name}|{n} files of {name}', plain: 'Done' })
  assert.equal(t('files', { n: 1, name: '$&' }), '1 file of $&')
  assert.equal(t('files', { n: 0, name: 'x' }), '0 files of x')
  assert.equal(t('plain'), 'Done')
  assert.equal(phrases({ many: '{n} Dateien' }, 'de')('many', { n: 5000 }), '5.000 Dateien')
})

test('speed needs two samples, and never goes backwards', () => {
  assert.equal(speed([]), 0)
  assert.equal(speed([[1, 100]]), 0)
  assert.equal(speed([[1, 100], [3, 500]]), 200)
  assert.equal(speed([[1, 500], [3, 100]]), 0)
})

test('types are compared as browsers do', () => {
  const file = (name, type = '') => ({ name, type })
  assert.ok(allowed('', file('x')))
  assert.ok(allowed('.jpg, .PNG', file('A.png')))
  assert.ok(allowed('image/*', file('x', 'image/avif')))
  assert.ok(allowed('application/pdf', file('x', 'application/pdf')))
  assert.ok(!allowed('.jpg,image/*', file('x.exe', 'application/x-msdownload')))
})
