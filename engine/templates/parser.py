"""Go templates to a tree: a recursive descent over the tokens, after Go's text/template/parse.

What Prometheus refuses when it loads a rule is refused here, by name and position: unknown functions and variables,
unbalanced `end`, what can't be called. What we do not have is refused here, too. Nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.errors import nearest
from engine.templates.constants import number, quoted, rune
from engine.templates.lexer import TemplateSyntaxError, Token, tokens_of
from engine.templates.nodes import (
    Action,
    Branch,
    Chain,
    Command,
    Constant,
    Dot,
    Field,
    Function,
    Loop,
    Nil,
    Operand,
    Pipe,
    Range,
    Statement,
    Text,
    Variable,
)

__all__ = ["parse"]

DEPTH_MAX = 50
_CONTROLS = ("if", "with", "range", "else", "end", "break", "continue", "define", "template", "block")
_NOT_OURS = ("define", "template", "block")
_OPERANDS = ("string", "raw", "rune", "number", "variable", "field", "dot", "word", "open")
_END = Token("word", "end", 0)


def parse(
    text: str, functions: Collection[str], variables: Sequence[str], refused: Collection[str] = ()
) -> tuple[Statement, ...]:
    """Parse a template.

    Args:
        functions: Names of functions that exist.
        variables: Variables that exist from the start, without their `$`.
        refused: Functions that Prometheus or Go has and we do not; named in the message.

    Raises:
        TemplateSyntaxError: With the offset of what is wrong.
    """
    return _Parser(tokens_of(text), functions, variables, refused).template()


class _Parser:
    def __init__(
        self, tokens: list[Token], functions: Collection[str], variables: Sequence[str], refused: Collection[str]
    ) -> None:
        self._tokens = tokens
        self._next = 0
        self._functions = functions
        self._refused = refused
        self._variables = ["", *variables]
        self._depth = 0
        self._loops = 0

    def template(self) -> tuple[Statement, ...]:
        body, end = self._statements(top=True)
        assert end.kind == "end"
        return body

    # --- statements ---------------------------------------------------------------------------------

    def _statements(self, top: bool = False) -> tuple[tuple[Statement, ...], Token]:
        """Statements up to `end`, `else` or the end of the text, and what ended them."""
        body: list[Statement] = []
        while True:
            token = self._take()
            if token.kind == "text":
                body.append(Text(token.text))
                continue
            if token.kind == "end":
                if not top:
                    raise TemplateSyntaxError("unexpected EOF: an {{ end }} is missing", token.at)
                return tuple(body), token
            word = self._peek()
            if word.kind == "word" and word.text in _CONTROLS:
                self._take()
                if word.text in ("end", "else"):
                    if top:
                        raise TemplateSyntaxError(f"unexpected {{{{{word.text}}}}}", word.at)
                    return tuple(body), word
                body.append(self._control(word))
                continue
            pipe = self._pipe("command")
            self._expect("right", "command")
            body.append(Action(pipe))

    def _control(self, word: Token) -> Statement:
        if word.text in _NOT_OURS:
            raise TemplateSyntaxError(f"{{{{ {word.text} }}}} is not supported", word.at)
        if word.text in ("break", "continue"):
            if not self._loops:
                raise TemplateSyntaxError(f"{{{{{word.text}}}}} outside {{{{range}}}}", word.at)
            self._expect("right", word.text)
            return Loop(word.text)
        return self._block(word)

    def _block(self, word: Token) -> Statement:
        """`if`, `with` or `range`, past that word, to its `end`."""
        with self._deeper(word.at):
            known = len(self._variables)
            pipe = self._pipe(word.text)
            self._expect("right", word.text)
            self._loops += word.text == "range"
            body, end = self._statements()
            self._loops -= word.text == "range"
            otherwise: tuple[Statement, ...] = ()
            if end.text == "else":
                again = self._peek()
                if again.kind == "word" and again.text == word.text and word.text in ("if", "with"):
                    otherwise = (self._block(self._take()),)  # its `end` is ours, too
                else:
                    self._expect("right", "else")
                    otherwise, end = self._statements()
                    if end.text == "else":
                        raise TemplateSyntaxError("expected end; found {{else}}", end.at)
                    self._expect("right", "end")
            else:
                self._expect("right", "end")
            del self._variables[known:]
        if word.text == "range":
            return Range(pipe, body, otherwise)
        return Branch(pipe, word.text == "with", body, otherwise)

    # --- pipelines ----------------------------------------------------------------------------------

    def _pipe(self, context: str) -> Pipe:
        at = self._peek().at
        variables, assigns = self._targets(context)
        commands: list[Command] = []
        while True:
            token = self._peek()
            if token.kind not in _OPERANDS:
                raise self._unexpected(token, context, commands)
            commands.append(self._command(len(commands) + 1))
            if self._peek().kind != "pipe":
                break
            self._take()
        return Pipe(at, tuple(variables), assigns, tuple(commands))

    def _targets(self, context: str) -> tuple[list[str], bool]:
        """The variables before `:=` or `=`, if this is what follows."""
        first = self._peek()
        after = self._tokens[self._next + 1] if self._next + 1 < len(self._tokens) else _END
        if first.kind != "variable" or after.kind not in ("declare", "assign", "comma"):
            return [], False
        names = [first.text[1:]]
        self._take()
        operator = self._take()
        if operator.kind == "comma":
            second = self._take()
            if context != "range" or second.kind != "variable":
                raise TemplateSyntaxError(f"too many declarations in {context}", second.at)
            names.append(second.text[1:])
            operator = self._take()
            if operator.kind not in ("declare", "assign"):
                raise TemplateSyntaxError("range can only initialize variables", operator.at)
        self._variables.extend(names)
        return names, operator.kind == "assign"

    def _command(self, stage: int) -> Command:
        words: list[Operand] = []
        at = self._peek().at
        while True:
            words.append(self._operand())
            token = self._peek()
            if token.kind in ("right", "close", "pipe"):
                break
            if token.kind not in _OPERANDS or not token.spaced:
                raise self._unexpected(token, "operand", words)
        if stage > 1 and isinstance(words[0], Constant | Nil | Dot):
            raise TemplateSyntaxError(f"non executable command in pipeline stage {stage}", at)
        return Command(at, tuple(words))

    def _operand(self) -> Operand:
        token = self._take()
        operand = self._term(token)
        names: list[str] = []
        while self._peek().kind == "field" and not self._peek().spaced:
            names.append(self._take().text[1:])
        if not names:
            return operand
        if isinstance(operand, Field | Variable):
            return operand._replace(names=(*operand.names, *names))
        if isinstance(operand, Constant | Nil | Dot):
            raise TemplateSyntaxError(f'unexpected . after term "{token.text}"', token.at)
        return Chain(token.at, operand, tuple(names))

    def _term(self, token: Token) -> Operand:
        at = token.at
        match token.kind:
            case "string" | "raw":
                return Constant(at, quoted(token.text, at))
            case "rune":
                return Constant(at, rune(token.text, at))
            case "number":
                return Constant(at, number(token.text, at))
            case "dot":
                return Dot(at)
            case "field":
                return Field(at, (token.text[1:],))
            case "variable":
                if token.text[1:] not in self._variables:
                    hint = nearest(token.text[1:], [name for name in self._variables if name]).replace('"', '"$', 1)
                    raise TemplateSyntaxError(f'undefined variable "{token.text}"' + (hint and f", {hint}"), at)
                return Variable(at, token.text[1:])
            case "open":
                with self._deeper(at):
                    pipe = self._pipe("parenthesized pipeline")
                self._expect("close", "parenthesized pipeline")
                return pipe
        return self._word(token)

    def _word(self, token: Token) -> Operand:
        if token.text in ("true", "false"):
            return Constant(token.at, token.text == "true")
        if token.text == "nil":
            return Nil(token.at)
        if token.text in self._refused:
            raise TemplateSyntaxError(f'function "{token.text}" is not supported', token.at)
        if token.text not in self._functions:
            hint = nearest(token.text, sorted(self._functions))
            raise TemplateSyntaxError(f'function "{token.text}" not defined' + (hint and f", {hint}"), token.at)
        return Function(token.at, token.text)

    # --- tokens -------------------------------------------------------------------------------------

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _expect(self, kind: str, context: str) -> None:
        token = self._take()
        if token.kind != kind:
            raise self._unexpected(token, context, [token])

    def _unexpected(self, token: Token, context: str, before: Sequence[object]) -> TemplateSyntaxError:
        if not before and token.kind in ("right", "close"):
            return TemplateSyntaxError(f"missing value for {context}", token.at)
        if token.kind == "end":
            return TemplateSyntaxError(f"unexpected end of the template in {context}", token.at)
        return TemplateSyntaxError(f'unexpected "{token.text[:40]}" in {context}', token.at)

    def _deeper(self, at: int) -> _Depth:
        return _Depth(self, at)


class _Depth:
    """Counts how deep blocks and parentheses are nested."""

    def __init__(self, parser: _Parser, at: int) -> None:
        self._parser = parser
        self._at = at

    def __enter__(self) -> None:
        self._parser._depth += 1
        if self._parser._depth > DEPTH_MAX:
            raise TemplateSyntaxError(f"the template is nested more than {DEPTH_MAX} deep", self._at)

    def __exit__(self, *_: object) -> None:
        self._parser._depth -= 1
