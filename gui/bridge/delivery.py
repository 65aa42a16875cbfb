"""One job's answer on its way to the client, streamed or whole."""

from gui.bridge.protocol.answer import Answer
from gui.bridge.protocol.chat import Chat
from gui.bridge.protocol.rendering import Rendering, began_anew, reason_of, unanswered
from gui.bridge.protocol.text import BeganAnewError, Pieces
from gui.bridge.stack.api import Job, Reply
from gui.bridge.stack.outlook import Outlook

# How often a stream says that it lives: while it waits for a worker, and while it is written.
WAITING_S, WRITING_S = 2.0, 10.0


class Delivery:
    """`model` is the name by which the client knows it."""

    def __init__(self, job: Job, chat: Chat, answer: Answer, outlook: Outlook, model: str) -> None:
        self._job, self._chat, self._answer, self._outlook = job, chat, answer, outlook
        self._rendering = Rendering(job, model, usage=chat.include_usage)
        self._headers = {"x-request-id": job.id}
        self._pieces = Pieces(chat.stops)

    async def begin(self) -> None:
        """Opens the stream, if it is one, and says what is waited for."""
        if self._chat.stream:
            await self._answer.begin(self._headers)
            await self._answer.event(self._rendering.chunk(role="assistant", content=""))
            await self._answer.comment(self._outlook.words(self._job))

    async def take(self, reply: Reply | None) -> bool:
        """Hands on what is new; whether the answer is complete. Raises OpenAIError."""
        if reply is None:
            if self._chat.stream and self._answer.silent_s > WAITING_S:
                await self._answer.comment(self._outlook.words(self._job))
            return False
        if reply.is_final and reply.status != "done":
            raise unanswered(reply)
        return await (self._stream(reply) if self._chat.stream else self._whole(reply))

    async def _stream(self, reply: Reply) -> bool:
        try:
            piece = self._pieces.take(reply.text, final=reply.is_final)
        except BeganAnewError:
            raise began_anew() from None
        if piece:
            await self._answer.event(self._rendering.chunk(content=piece))
        elif self._answer.silent_s > WRITING_S:
            await self._answer.comment("generating")
        if not self._is_over(reply, self._pieces):
            return False
        await self._answer.event(self._rendering.chunk(reason=self._reason(reply, self._pieces)))
        if self._chat.include_usage:
            await self._answer.event(self._rendering.usage_chunk(reply))
        await self._answer.end()
        return True

    async def _whole(self, reply: Reply) -> bool:
        # Nothing was handed out yet, so that another worker may begin again as it likes.
        pieces = Pieces(self._chat.stops)
        text = pieces.take(reply.text, final=reply.is_final)
        if not self._is_over(reply, pieces):
            return False
        completion = self._rendering.whole(reply, text, self._reason(reply, pieces))
        await self._answer.whole(completion, self._headers)
        return True

    @staticmethod
    def _is_over(reply: Reply, pieces: Pieces) -> bool:
        return reply.is_final or pieces.stopped

    @staticmethod
    def _reason(reply: Reply, pieces: Pieces) -> str:
        return "stop" if pieces.stopped else reason_of(reply)
