"""An SFTP server with one user and one password: PORT ROOT HOST-KEY USER PASSWORD."""

import asyncio
import os
import sys

import asyncssh

port, root, host_key, user, password = sys.argv[1:]


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, given):
        return (username, given) == (user, password)


class Files(asyncssh.SFTPServer):
    def __init__(self, channel):
        super().__init__(channel, chroot=root.encode())

    def _lose_answer(self):
        if os.path.exists(root + ".lose-rename"):
            os.unlink(root + ".lose-rename")
            self.channel.get_connection().abort()

    def rename(self, old, new):
        super().rename(old, new)
        self._lose_answer()

    def posix_rename(self, old, new):
        super().posix_rename(old, new)
        self._lose_answer()


async def main():
    await asyncssh.create_server(Server, "127.0.0.1", int(port), server_host_keys=[host_key], sftp_factory=Files)
    await asyncio.Event().wait()


asyncio.run(main())
