import { type Fault, fault } from './fault.ts';

const CLIENT = ['test/integration/tls-client.test.ts'] as const;
const LAYER = ['test/net/tls-layer.test.ts'] as const;
const SERVER = ['test/integration/tls-server.test.ts'] as const;
const CONTEXTS = ['test/tls/contexts.test.ts'] as const;
const ORPHANS = ['test/daemon/orphans.test.ts'] as const;
const BINDING = ['test/auth/channel-binding.test.ts'] as const;

/** Who can read along, or pass for somebody else. */
export const tlsFaults: readonly Fault[] = [
  fault(
    'what a dead thread had running by TLS is cancelled in the clear',
    { file: 'src/daemon/orphans.ts', find: 'tlsHost === null ? null : tls);', replace: 'null);' },
    ORPHANS,
  ),
  fault(
    'the keeper does not know which host a dead thread had TLS to',
    {
      file: 'src/server/opening.ts',
      find: 'const tlsHost = this.#tls === null ? null : this.#route.host;',
      replace: 'const tlsHost = null;',
    },
    ORPHANS,
  ),
  fault(
    'bytes stuffed behind a server’s answer to SSLRequest are let pass',
    {
      file: 'src/server/encryption.ts',
      find: "else if (end - start > 1) host.refused('received unencrypted data after SSL response');",
      replace: '',
    },
    SERVER,
  ),
  fault(
    'the host’s name is not looked for in its certificate',
    {
      file: 'src/tls/server-side.ts',
      find: "verifies === 'host' && !isForHost",
      replace: "verifies === 'nothing' && !isForHost",
    },
    SERVER,
  ),
  fault(
    'a server’s certificate may be anybody’s',
    {
      file: 'src/tls/server-side.ts',
      find: "rejectUnauthorized: verifies !== 'nothing',",
      replace: 'rejectUnauthorized: false,',
    },
    SERVER,
  ),
  fault(
    'require takes a server that has no TLS',
    {
      file: 'src/server/encryption.ts',
      find: 'else if (this.#isRequired)',
      replace: 'else if (end < start)',
    },
    SERVER,
  ),
  fault(
    'a cancel request goes out in the clear',
    {
      file: 'src/server/cancel.ts',
      find: 'if (tls === null) send();',
      replace: 'if (tls !== undefined) send();',
    },
    SERVER,
  ),
  fault(
    'a failed handshake is followed by an attempt for protocol 3.0',
    {
      file: 'src/server/opening.ts',
      find: '    if (!this.#isConnected || this.#minor === 0',
      replace: '    if (this.#minor === 0',
    },
    SERVER,
  ),
  fault(
    'server connections stay what they were when TLS has changed',
    { file: 'src/daemon/reload.ts', find: 'if (!prepared.isServerChanged) return;', replace: 'return;' },
    SERVER,
  ),
  fault(
    'require lets clients in that are not encrypted',
    {
      file: 'src/client/startup.ts',
      find: 'if (connection.tls === null && this.#tls()?.isRequired === true) {',
      replace: 'if (connection.tls !== null && this.#tls() === null) {',
    },
    CLIENT,
  ),
  fault(
    'a client’s certificate may be signed by anybody',
    { file: 'src/tls/client-side.ts', find: 'if (refusal !== null) return { refusal };', replace: '' },
    CLIENT,
  ),
  fault(
    'a browser that was lured here is served by direct TLS',
    {
      file: 'src/client/tls.ts',
      find: 'this.#isDirect && !this.#tls.hasNamedProtocol(socket)',
      replace: '!this.#isDirect && !this.#tls.hasNamedProtocol(socket) && this.#isDirect',
    },
    CLIENT,
  ),
  fault(
    'sessions are taken up without their certificates',
    {
      file: 'src/tls/contexts.ts',
      find: "(certificates === 'none' ? 0 : constants.SSL_OP_NO_TICKET)",
      replace: '0',
    },
    CLIENT,
  ),
  fault(
    'each thread has ticket keys of its own',
    {
      file: 'src/tls/contexts.ts',
      find: 'this.#ticketSecret = ticketSecret;',
      replace: 'this.#ticketSecret = randomBytes(32);',
    },
    CONTEXTS,
  ),
  fault(
    'each thread has ticket keys of its own where Node’s sockets stand in',
    { file: 'src/tls/contexts.ts', find: '{ ...options, ticketKeys: nodeKeys }', replace: 'options' },
    CONTEXTS,
  ),
  fault(
    'a handshake may take forever',
    {
      file: 'src/client/tls.ts',
      find: 'if (timeoutMs > 0 && nowMs - loginFromMs > timeoutMs)',
      replace: 'if (timeoutMs > 0 && nowMs < loginFromMs)',
    },
    CLIENT,
  ),
  fault(
    'RELOAD makes contexts although nothing has changed',
    {
      file: 'src/tls/contexts.ts',
      find: 'if (source === this.#client.source) return this.#client;',
      replace: '',
    },
    ['test/integration/tls-reload.test.ts'],
  ),
  fault(
    'a TLS error after the handshake is not heard',
    {
      file: 'src/net/conn.ts',
      find: "socket.on('_tlsError', (error: Error) => socket.destroy(error));",
      replace: '',
    },
    ['test/net/conn-tls.test.ts'],
  ),
  fault(
    'a connection that is ended in its handshake lingers',
    {
      file: 'src/net/conn.ts',
      find: 'if (this.#isSecuring) {\n      this.destroy();\n      return;\n    }',
      replace: '',
    },
    ['test/net/conn-tls.test.ts'],
  ),
  fault(
    'what comes together with the end of a client’s handshake is lost',
    {
      file: 'src/net/tls-layer.ts',
      find: 'if (this.#isSecured || this.#shakeHands()) opened',
      replace: 'if (!this.#isSecured) this.#shakeHands();\n        else opened',
    },
    LAYER,
  ),
  fault(
    'a client that speaks another protocol alone is taken for one that has named none',
    {
      file: 'src/net/native-tls-context.ts',
      find: 'if (at < 0) return SSL_TLSEXT_ERR_ALERT_FATAL;',
      replace: 'if (at < 0) return SSL_TLSEXT_ERR_NOACK;',
    },
    LAYER,
  ),
  fault(
    'what is wrong with a client’s TLS waits for others’ writes until its socket is gone',
    {
      file: 'src/net/conn-writes.ts',
      find: 'this.settle();\n    this.current.destroy(error);',
      replace: 'this.current.destroy(error);',
    },
    ['test/net/write-batch.test.ts'],
  ),
  fault(
    'answers to key updates that nobody reads are kept without end',
    {
      file: 'src/net/tls-layer.ts',
      find: 'this.#unreadBytes + end;',
      replace: '0;',
    },
    ['test/integration/before-login.test.ts'],
  ),
  fault(
    'a client that gives up amid its handshake is waited for',
    {
      file: 'src/net/native-tls.ts',
      find: 'if (error === SSL_ERROR_ZERO_RETURN) this.#hasEnded = true;',
      replace: 'if (error === SSL_ERROR_ZERO_RETURN) return "waits";',
    },
    LAYER,
  ),
  fault(
    'what came ahead of a broken record is lost',
    {
      file: 'src/net/tls-layer.ts',
      find: 'if (opened > 0 && !host.isClosed)',
      replace: 'if (opened > 0 && failure === null && !host.isClosed)',
    },
    LAYER,
  ),
  fault(
    'a paused connection over TLS is told of its end',
    {
      file: 'src/net/tls-layer.ts',
      find: '&& this.#host.isReading) this.socketEnded();',
      replace: ') this.socketEnded();',
    },
    LAYER,
  ),
  fault(
    'the end of a client over TLS is told twice',
    {
      file: 'src/net/tls-layer.ts',
      find: 'if (this.#isOver) return;\n    this.#isOver = true;\n    this.#host.socketEnded();',
      replace: 'this.#host.socketEnded();',
    },
    LAYER,
  ),
  fault(
    'what is to be sent over TLS is written over before it is written',
    {
      file: 'src/net/tls-layer.ts',
      find: 'filled = this.#session.drain(filled);',
      replace: 'filled = Math.max(filled, this.#session.drain(0));',
    },
    LAYER,
  ),
  fault(
    'what is wrong with a client’s TLS is not said to it',
    {
      file: 'src/net/tls-layer.ts',
      find: 'if (session.hasSealed) this.#flush();',
      replace: 'if (session.failure === null && session.hasSealed) this.#flush();',
    },
    LAYER,
  ),
  fault(
    'what a client has bound to is not compared',
    {
      file: 'src/auth/client-scram.ts',
      find: "if (!message.channelBinding.equals(channelBinding)) return this.#refuse('channel binding differs');",
      replace: '',
    },
    BINDING,
  ),
  fault(
    'somebody in between can take our offer of channel binding out',
    {
      file: 'src/auth/client-scram.ts',
      find: "if (flag === 'y' && this.#hash !== null)",
      replace: "if (flag === 'p' && this.#hash !== null)",
    },
    BINDING,
  ),
  fault(
    'a client may choose channel binding and then not bind',
    {
      file: 'src/auth/client-scram.ts',
      find: "if (flag !== 'p') return 'a mechanism with channel binding, and none in the message';",
      replace: "if (flag !== 'p') return null;",
    },
    BINDING,
  ),
  fault(
    'we bind to nothing although the server offers it',
    {
      file: 'src/auth/server-auth.ts',
      find: 'if (!mechanisms.includes(SCRAM_PLUS_MECHANISM)) {',
      replace: 'if (mechanisms.length > 0) {',
    },
    BINDING,
  ),
  fault(
    'the hash is always SHA-256',
    {
      file: 'src/tls/end-point.ts',
      find: "name === 'md5' || name === 'sha1' ? 'sha256' : name",
      replace: "name === '' ? name : 'sha256'",
    },
    ['test/tls/end-point.test.ts'],
  ),
  fault(
    'after a change of server_tls logins wait for a new server',
    {
      file: 'src/daemon/reload.ts',
      find: 'pool.markAllCloseNeeded(false);',
      replace: 'pool.markAllCloseNeeded(true);',
    },
    ['test/integration/tls-server.test.ts'],
  ),
  fault(
    'a file that both sides name is in force in two versions',
    {
      file: 'src/tls/contexts.ts',
      find: 'if (files !== null) readIdentity(files, this.#files);',
      replace: 'if (files === undefined) readIdentity(files, this.#files);',
    },
    CONTEXTS,
  ),
  fault(
    'the authorities for LDAP are read for each login',
    {
      file: 'src/auth/ldap-authorities.ts',
      find: 'known?.version === version',
      replace: "known?.version === ''",
    },
    ['test/auth/ldap-authorities.test.ts'],
  ),
  fault(
    'authorities for LDAP that are as long and as old as those before are not noticed',
    {
      file: 'src/auth/ldap-authorities.ts',
      find: '[own, dev, ino, size, ctimeMs]',
      replace: '[own, dev, ino, size, ctimeMs > 0]',
    },
    ['test/auth/ldap-authorities.test.ts'],
  ),
  fault(
    'what is encrypted for a slow peer is queued where the next record is put',
    {
      file: 'src/net/conn-writes.ts',
      find: 'return this.current.write(Buffer.from(chunk.subarray(start + taken, end)));',
      replace:
        'const rest = chunk.subarray(start + taken, end); return this.current.write(this.layer === null ? Buffer.from(rest) : rest);',
    },
    ['test/net/conn.test.ts'],
  ),
];
