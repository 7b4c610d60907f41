"""Checks decoded CBOR against the part of CDDL (RFC 8610) that docs/protocol.cddl uses.

    schema = Schema(text)
    schema.problem("status", value)      # None, or a sentence

Understood: rules, maps with integer or bare-word keys and "?", maps "{n*m key => type}", arrays "[n*m type]",
choices "/", ranges, text literals, uint int float64 bool tstr bstr, ".size (a..b)".
Anything else in the schema is an error, never skipped.  A CBOR text is a str, bytes are
bytes, a float is a float; maps are dicts.
"""

import re

TOKEN = re.compile(r'\s+|;[^\n]*|("[^"]*"|\.\.|=>|\.size|[a-zA-Z][\w-]*|\d+|[=?:,/*()\[\]{}])')
MAX_INT = 2**64 - 1


class SchemaError(Exception):
    pass


def tokens_of(text):
    tokens, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise SchemaError("cannot read the schema at %r" % text[at : at + 40])
        if match.group(1):
            tokens.append(match.group(1))
        at = match.end()
    return tokens


class Schema:
    def __init__(self, text):
        self.tokens, self.at, self.rules = tokens_of(text), 0, {}
        while self.at < len(self.tokens):
            name = self.take()
            self.need("=")
            self.rules[name] = self.choice()
        for name in list(self.rules):
            self.check_references(self.rules[name])

    # ---- reading ----

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def need(self, token):
        found = self.take()
        if found != token:
            raise SchemaError("expected %s, found %s" % (token, found))

    def choice(self):
        options = [self.one()]
        while self.peek() == "/":
            self.take()
            options.append(self.one())
        return ("choice", options) if len(options) > 1 else options[0]

    def one(self):
        token = self.take()
        if token == "{":
            return self.map()
        if token == "[":
            return self.array()
        if token.startswith('"'):
            return ("literal", token[1:-1])
        if token.isdigit():
            self.need("..")
            return ("range", int(token), int(self.take()))
        if self.peek() != ".size":
            return ("name", token)
        self.take()
        self.need("(")
        low = int(self.take())
        self.need("..")
        high = int(self.take())
        self.need(")")
        return ("size", token, low, high)

    def map(self):
        if self.tokens[self.at + 1] == "*":
            low = int(self.take())
            self.need("*")
            high = int(self.take())
            key = self.choice()
            self.need("=>")
            value = self.choice()
            self.need("}")
            return ("table", low, high, key, value)
        members = {}
        while self.peek() != "}":
            optional = self.peek() == "?"
            if optional:
                self.take()
            key = self.take()
            key = int(key) if key.isdigit() else key
            self.need(":")
            if key in members:
                raise SchemaError("key %s stands twice" % key)
            members[key] = (optional, self.choice())
            self.need(",")
        self.take()
        return ("map", members)

    def array(self):
        low = int(self.take())
        self.need("*")
        high = int(self.take())
        item = self.choice()
        self.need("]")
        return ("array", low, high, item)

    BUILT_IN = {"uint", "int", "float64", "bool", "tstr", "bstr"}

    def check_references(self, node):
        if node[0] == "name" and node[1] not in self.BUILT_IN and node[1] not in self.rules:
            raise SchemaError("no rule %s" % node[1])
        children = {
            "choice": lambda: node[1],
            "map": lambda: [t for _, t in node[1].values()],
            "array": lambda: [node[3]],
            "table": lambda: [node[3], node[4]],
        }.get(node[0], lambda: [])()
        for child in children:
            self.check_references(child)

    # ---- checking ----

    def problem(self, rule, value):
        return self._problem(("name", rule), value, rule)

    def _problem(self, node, value, where):
        return getattr(self, "_" + node[0])(node, value, where)

    def _name(self, node, value, where):
        name = node[1]
        if name in self.rules:
            return self._problem(self.rules[name], value, where)
        is_int = isinstance(value, int) and not isinstance(value, bool)
        good = {
            "uint": is_int and 0 <= value <= MAX_INT,
            "int": is_int and -MAX_INT - 1 <= value <= MAX_INT,
            "float64": isinstance(value, float),
            "bool": isinstance(value, bool),
            "tstr": isinstance(value, str),
            "bstr": isinstance(value, bytes),
        }[name]
        return None if good else "%s: %r is no %s" % (where, value, name)

    def _size(self, node, value, where):
        found = self._name(("name", node[1]), value, where)
        if found:
            return found
        size = len(value.encode()) if isinstance(value, str) else len(value)
        return None if node[2] <= size <= node[3] else "%s: size %d" % (where, size)

    def _range(self, node, value, where):
        if isinstance(value, int) and not isinstance(value, bool) and node[1] <= value <= node[2]:
            return None
        return "%s: %r is not in %d..%d" % (where, value, node[1], node[2])

    def _literal(self, node, value, where):
        return None if value == node[1] else "%s: %r is not %r" % (where, value, node[1])

    def _choice(self, node, value, where):
        problems = [self._problem(option, value, where) for option in node[1]]
        return None if None in problems else problems[0]

    def _array(self, node, value, where):
        if not isinstance(value, list) or not node[1] <= len(value) <= node[2]:
            return "%s: no list of %d to %d" % (where, node[1], node[2])
        for i, item in enumerate(value):
            found = self._problem(node[3], item, "%s[%d]" % (where, i))
            if found:
                return found
        return None

    def _table(self, node, value, where):
        if not isinstance(value, dict) or not node[1] <= len(value) <= node[2]:
            return "%s: no map of %d to %d" % (where, node[1], node[2])
        for key, item in value.items():
            found = self._problem(node[3], key, "%s, a key" % where) or self._problem(node[4], item, "%s[%r]" % (where, key))
            if found:
                return found
        return None

    def _map(self, node, value, where):
        if not isinstance(value, dict):
            return "%s: no map" % where
        for key, (optional, _) in node[1].items():
            if key not in value and not optional:
                return "%s: key %s is missing" % (where, key)
        for key, item in value.items():
            if key not in node[1]:
                return "%s: unknown key %s" % (where, key)
            found = self._problem(node[1][key][1], item, "%s.%s" % (where, key))
            if found:
                return found
        return None
