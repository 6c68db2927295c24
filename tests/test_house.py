"""The order of the house: imports run one way, methods stay in their room, and everything is short enough to be read.

Read from the sources alone, nothing is imported.
"""

import ast
import collections
import functools
import itertools
import re

import pytest

from tests.places import REPO

# From the top to the bottom; each layer uses those after it, and rooms of one layer do not know each other.
LAYERS = (("__main__",), ("reproduce",), ("compare",), ("assess",), ("benchmark",), ("extract", "export", "collect"),
          ("main",), ("ablations",), ("train",), ("report",), ("training",), ("methods",),
          ("pretrained", "published_checkpoints"), ("interop", "weight_files"), ("modules",), ("evaluate",), ("data",),
          ("measured",), ("written",), ("files",), ("stores",), ("cli",), ("host",), ("overrides",), ("jaxskill",))
RANKS = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
# Rooms above methods/ may name one where their subject is one: its speed, its peers, what its paper claims.
OF_ONE_METHOD = ("benchmark.systems", "benchmark.peers", "reproduce")
COMMON = ("__init__", "common", "fields", "frames", "items")    # files in methods/ that are no method
UNCLEAR = ("panel", "feed", "own", "finished", "likeness", "floors", "evidence")
BRITISH = re.compile("colour|cent(re|red)(_|$)|grey|neighbour|behaviour|labell|modell|"
                     "(initial|normal|standard|summar|synchron|organ|optim|recogn|minim|maxim)is(e|a|i)")
MOST_LINES, MOST_OF_A_FUNCTION, WIDEST = 350, 60, 120
# What Windows lacks: modules, and names of the modules that it has.
POSIX_MODULES = set("crypt curses fcntl grp nis posix pty pwd readline resource spwd syslog termios tty".split())
POSIX_NAMES = dict(
    os=set("O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK RTLD_GLOBAL WNOHANG chown chroot confstr ctermid fchmod fchown fork "
           "forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getsid getuid killpg lchown "
           "mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_spawn pread preadv pwrite pwritev "
           "register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile set_blocking setegid seteuid "
           "setgid setpgid setpriority setsid setuid statvfs sysconf sysconf_names uname wait wait3 wait4".split()),
    signal=set("ITIMER_REAL SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP "
               "SIGTTIN SIGTTOU SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIG_BLOCK SIG_SETMASK SIG_UNBLOCK "
               "alarm pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait".split()),
    time={"clock_gettime", "clock_settime", "pthread_getcpuclockid", "tzset"})


def read(folder):
  """Yields (path in the folder, (path below the repository, text, tree)) of every Python file."""
  for path in sorted((REPO / folder).rglob("*.py")):
    text = path.read_text(encoding="utf-8")
    yield path.relative_to(REPO / folder), (path.relative_to(REPO).as_posix(), text, ast.parse(text))


@functools.cache
def sources():
  """{"data.arrays": (its path below the repository, its text, its tree)} of every file of the package."""
  found = {}
  for path, source in read("jaxskill"):
    parts = path.with_suffix("").parts
    found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "jaxskill"] = source
  return found


@functools.cache
def everything():
  """[(path, text, tree)] of every file of the package and of configs/."""
  return [*sources().values(), *(source for _, source in read("configs"))]


@functools.cache
def nodes(tree):
  """All nodes of a file; the tests walk the same files again and again."""
  return tuple(ast.walk(tree))


def room(module):
  return module.partition(".")[0]


def imported(tree):
  """Modules of ours that a file imports, at its top or in functions."""
  for node in nodes(tree):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"line {node.lineno}: relative import"
      whole = [f"{node.module}.{alias.name}" for alias in node.names]
      names = [name if name.removeprefix("jaxskill.") in sources() else node.module for name in whole]
    else:
      continue
    for name in names:
      if room(name) == "jaxskill":
        yield name.removeprefix("jaxskill.")


def test_every_room_has_its_layer():
  assert {room(module) for module in sources()} <= RANKS.keys()


def test_imports_run_one_way():
  wrong = [f"{path} imports {other}" for module, (path, _, tree) in sources().items() for other in imported(tree)
           if room(other) != room(module) and RANKS[room(other)] <= RANKS[room(module)]]
  assert not wrong, wrong


def test_imports_have_no_circles():
  edges = {module: set(imported(tree)) - {module} for module, (_, _, tree) in sources().items()}
  while edges:
    free = {module for module, others in edges.items() if not others & edges.keys()}
    assert free, f"these import each other in a circle: {_circle(edges)}"
    edges = {module: others for module, others in edges.items() if module not in free}


def _circle(edges):
  path = [next(iter(edges))]
  while path.count(path[-1]) == 1:
    path.append(next(iter(edges[path[-1]] & edges.keys())))
  return path[path.index(path[-1]):]


def run_at_import(tree):
  """Yields what is executed when a module is imported: no bodies of functions, and nothing that may fail to import."""
  waiting = list(tree.body)
  while waiting:
    node = waiting.pop()
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      waiting += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
      waiting += node.orelse
    elif isinstance(node, ast.Try) and any("ImportError" in ast.unparse(handler) for handler in node.handlers):
      waiting += [*node.handlers, *node.orelse, *node.finalbody]
    elif not isinstance(node, ast.Lambda):
      waiting += ast.iter_child_nodes(node)


def names_of_others(node):
  """Yields what a node takes from other modules: "os.fork" of `os.fork`, "fcntl" of `import fcntl`."""
  if isinstance(node, ast.Import):
    yield from (alias.name for alias in node.names)
  elif isinstance(node, ast.ImportFrom):
    yield from (f"{node.module}.{alias.name}" for alias in node.names)
  elif isinstance(node, ast.Attribute):
    yield ast.unparse(node)


def test_nothing_that_only_posix_has_is_needed_for_an_import():
  """Windows is not tested: that it lacks a module or a signal is not why a command cannot even begin there."""
  found = []
  for path, _, tree in everything():
    for name in itertools.chain.from_iterable(map(names_of_others, run_at_import(tree))):
      module, _, rest = name.partition(".")
      if module in POSIX_MODULES or rest in POSIX_NAMES.get(module, ()):
        found.append(f"{path}: {name}")
  assert not found, f"import these in the function that uses them, or say what happens without: {found}"


def test_nothing_imports_tensorflow_datasets_until_published_data_are_prepared():
  """It takes longer to import than most runs take to begin; `test_main.py` trains where it cannot be imported."""
  at_import = {module: set(itertools.chain.from_iterable(map(names_of_others, run_at_import(tree))))
               for module, (_, _, tree) in sources().items()}
  assert [module for module, names in at_import.items() if "tensorflow_datasets" in names] == ["data.published.builders"]
  assert not [module for module, names in at_import.items() if "jaxskill.data.published.builders" in names]


def test_no_array_of_jax_begins_with_what_happens_to_be_in_memory():
  """From JAX 0.11 on `jnp.empty` and its like hold anything, as those of NumPy, which are written before they are read."""
  found = [f"{path}: line {node.lineno}" for path, _, tree in everything() for node in nodes(tree)
           for name in names_of_others(node) if name.split(".")[-1] in ("empty", "empty_like")
           and name.split(".")[0] not in ("np", "numpy")]
  assert not found, f"use zeros, or full: {found}"


def test_no_module_makes_up_its_attributes():
  wrong = [path for path, _, tree in sources().values() for node in tree.body
           if "__getattr__" in (getattr(node, "name", ""), *(getattr(target, "id", "") for target in
                                                             getattr(node, "targets", ())))]
  assert not wrong, wrong


def texts(tree, messages=True):
  """Strings of a file that are no docstrings; without `messages`, not those of errors either."""
  left_out = {id(node.body[0].value) for node in nodes(tree)
              if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body
              and isinstance(node.body[0], ast.Expr)}
  if not messages:
    left_out |= {id(part) for node in nodes(tree) if isinstance(node, ast.Raise) for part in ast.walk(node)}
  return [node.value for node in nodes(tree)
          if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out]


@functools.cache
def identifiers(tree):
  """Names of variables, attributes, arguments, functions and modules, each once; of others' modules none."""
  found = {}
  for node in nodes(tree):
    if isinstance(node, ast.ImportFrom) and room(node.module) != "jaxskill":
      continue
    for field in ("id", "attr", "arg", "name", "asname", "module"):
      if isinstance(value := getattr(node, field, None), str):
        found[value] = None
  return tuple(found)


def methods():
  """{method: tree of its file}."""
  files = {module.split(".")[1]: tree for module, (_, _, tree) in sources().items() if module.startswith("methods.")}
  return {name: tree for name, tree in files.items() if name not in COMMON}


def above_methods():
  for module, (path, _, tree) in sources().items():
    if RANKS[room(module)] < RANKS["methods"] and not module.startswith(OF_ONE_METHOD):
      yield path, tree


def test_no_method_is_named_above_methods():
  """Whether in a name or in a string; a config file given as an example is none."""
  assert len(methods()) >= 5
  named = re.compile(rf"(?<!\w)({'|'.join(methods())})(?!\w)")
  found = []
  for path, tree in above_methods():
    words = [re.sub(r"e\.g\. configs/\S+", "", text) for text in texts(tree)] + list(identifiers(tree))
    found += [f"{path}: {name}" for word in words for name in named.findall(word)]
  assert not found, "rooms above methods/ know no method"


def test_no_string_of_one_method_stands_above_methods():
  """Strings of several words, as a curve is called, that one method uses."""
  uses = collections.Counter(text for tree in methods().values() for text in set(texts(tree, messages=False)))
  of_all = {text for name in COMMON if name != "__init__" for text in texts(sources()[f"methods.{name}"][2])}
  of_one = {text for text, count in uses.items() if count == 1 and " " in text and re.search("[a-z]{3}", text)} - of_all
  found = {f"{path}: {text}" for path, tree in above_methods() for text in texts(tree, messages=False)
           if text in of_one}
  assert not found, "rooms above methods/ read kinds of answers, not the words of one method"


def test_files_are_short():
  found = [path for path, text, _ in everything() if len(text.splitlines()) > MOST_LINES]
  assert not found, f"files of more than {MOST_LINES} lines"


def test_functions_are_short():
  found = [f"{path}: {node.name}" for path, _, tree in everything() for node in nodes(tree)
           if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
           and node.end_lineno - node.lineno >= MOST_OF_A_FUNCTION]
  assert not found, f"functions of more than {MOST_OF_A_FUNCTION} lines"


def test_lines_are_narrow():
  found = [path for path, text, _ in everything() if any(len(line) > WIDEST for line in text.splitlines())]
  assert not found, f"files with lines of more than {WIDEST} characters"


@pytest.mark.parametrize("name", UNCLEAR)
def test_names_can_be_guessed(name):
  """Those of rooms and files, and those of variables, arguments, functions and attributes."""
  assert not list((REPO / "jaxskill").rglob(name)) + list((REPO / "jaxskill").rglob(f"{name}.py"))
  found = [path for path, _, tree in everything() if name in identifiers(tree)]
  assert not found, f"{name}: say what it is"


def test_names_in_tests_say_what_they_hold():
  found = [path for _, (path, _, tree) in read("tests") if "own" in identifiers(tree)]
  assert not found, f"own is whose it is, not what: {found}"


def test_identifiers_are_spelt_as_in_america():
  found = [f"{path}: {name}" for path, _, tree in everything() for name in identifiers(tree)
           if BRITISH.search(name.lower())]
  assert not found, found


def public(tree, place=""):
  """Yields (name, node) of the classes and functions that other files may use: none that begins with an underscore."""
  for node in tree.body:
    overloaded = any(ast.unparse(decorator) == "overload" for decorator in getattr(node, "decorator_list", ()))
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_") and not overloaded:
      yield place + node.name, node
      if isinstance(node, ast.ClassDef):
        yield from public(node, f"{node.name}.")


def documented():
  """Yields (where it stands, node, docstring or "") of all that is public."""
  for path, _, tree in everything():
    for name, node in public(tree):
      yield f"{path}: {name}", node, ast.get_docstring(node) or ""


def public_functions():
  return [(place, node, said) for place, node, said in documented() if isinstance(node, ast.FunctionDef)]


def parameters(function):
  """The parameters of a function, without the object or class that it belongs to."""
  of = function.args
  every = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
  return [parameter for parameter in every if parameter.arg not in ("self", "cls")]


def test_what_is_public_has_a_docstring():
  found = [place for place, _, said in documented() if not said]
  assert not found, found


def test_docstrings_begin_with_a_verb():
  """As "Returns ..."; those of classes say what an object is."""
  found = [f"{place}: {said.splitlines()[0]}" for place, _, said in public_functions()
           if not re.match(r"[A-Z][a-z]+s\b", said)]
  assert not found, found


def test_docstrings_name_the_errors():
  found = [place for place, node, said in public_functions() if not re.search("[Rr]aises|Error", said)
           and any(isinstance(part, ast.Raise) for part in ast.walk(node))]
  assert not found, f"these raise and do not say what: {found}"


def known_as(module, tree):
  """{name in a file: the function of ours that it is, "data.tables.number"}."""
  known = {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef)}
  for node in nodes(tree):
    if isinstance(node, ast.ImportFrom) and room(node.module) == "jaxskill":
      known |= {alias.asname or alias.name: f"{node.module}.{alias.name}".removeprefix("jaxskill.")
                for alias in node.names}
  return known


def called(function, known):
  """Yields the functions of ours that a function calls by their names."""
  for node in ast.walk(function):
    if isinstance(node, ast.Call):
      first, *rest = ast.unparse(node.func).split(".")
      yield ".".join([known.get(first, first), *rest])


def test_what_users_call_tells_what_it_raises():
  """What a room exports, and the `run` of a command: whoever calls it does not see what that calls in turn."""
  functions = {f"{module}.{node.name}": (path, node, known_as(module, tree)) for module, (path, _, tree) in
               sources().items() for node in tree.body if isinstance(node, ast.FunctionDef)}
  exported = {name for name, (path, node, _) in functions.items() if node.name == "run" or path.endswith("__init__.py")}
  for module, (_, _, tree) in sources().items():
    exported |= {known_as(module, tree).get(name) for node in tree.body if isinstance(node, ast.Assign)
                 and ast.unparse(node.targets[0]) == "__all__" for name in ast.literal_eval(node.value)}
  raises = {name: "ValueError" in (ast.get_docstring(node) or "") for name, (_, node, _) in functions.items()}
  silent = [name for name in sorted(exported & raises.keys()) if not raises[name] and not name.split(".")[-1][0] == "_"
            and any(raises.get(other) for other in called(functions[name][1], functions[name][2]))]
  assert not silent, f"these call what raises a ValueError, and do not say so: {silent}"


def test_public_functions_have_types():
  found = [place for place, node, _ in public_functions()
           if node.returns is None or any(parameter.annotation is None for parameter in parameters(node))]
  assert not found, found


def choices(annotation):
  """Yields the types that an annotation allows: of "A | B" both."""
  if isinstance(annotation, ast.BinOp):
    yield from choices(annotation.left)
    yield from choices(annotation.right)
  elif annotation is not None:
    yield ast.unparse(annotation)


def test_public_functions_say_what_they_return():
  """Anything is no answer; a dict of anything is one. Nor is there another name for anything."""
  found = [place for place, node, _ in public_functions() if "Any" in choices(node.returns)]
  found += [f"{path}: line {node.lineno}" for path, _, tree in everything() for node in nodes(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign) and "Any" in choices(node.value)]
  assert not found, f"these return Any: {found}"
