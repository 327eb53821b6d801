/* table_docs.h - what help() says of Table's methods. The examples are run by tests/test_docs.py, each on a new table `rate`
 * of columns count int32, reset int64, note str:64.
 */
#ifndef FRIDGE_PYTHON_TABLE_DOCS_H
#define FRIDGE_PYTHON_TABLE_DOCS_H

#define DOC_COLUMN_ERRORS                                                                                              \
    "    UnknownColumnError: the table has no such column; the text lists those it has.\n"                             \
    "    ColumnTypeError, ColumnRangeError, TooLongError: a value does not fit its column.\n"
#define DOC_WRITE_ERRORS                                                                                               \
    DOC_COLUMN_ERRORS                                                                                                  \
    "    TableFullError: a row is new, and the table has as many as it takes.\n"                                       \
    "    ReadOnlyError, ClosedError, UnknownTableError (dropped), LatchTimeoutError.\n"

#define DOC_SET                                                                                                        \
    "Set columns of a row: set(key, column=value, ...) or set(key, row).\n\n"                                          \
    "Other columns stay; in a new row they are 0, False or empty.\n\n"                                                 \
    "Returns:\n    Whether the row is new.\n\n"                                                                        \
    "Raises:\n" DOC_WRITE_ERRORS                                                                                       \
    "\nExample:\n    >>> rate.set('10.0.0.1', count=1, note='api')\n    True\n"                                        \
    "    >>> rate.set('10.0.0.1', {'count': 2})\n    False\n"

#define DOC_GET                                                                                                        \
    "get(key, column=None, default=None)\n--\n\n"                                                                      \
    "Return a row as of one instant, or one column of it.\n\n"                                                         \
    "Returns:\n    A dict, or an object of the table's class; `default` when there is no such row.\n\n"                \
    "Raises:\n    UnknownColumnError: the table has no such column.\n"                                                 \
    "\nExample:\n    >>> _ = rate.set('10.0.0.1', count=1)\n"                                                          \
    "    >>> rate.get('10.0.0.1')\n    {'count': 1, 'reset': 0, 'note': ''}\n"                                         \
    "    >>> rate.get('10.0.0.1', 'count')\n    1\n"                                                                   \
    "    >>> rate.get('nobody', 'count', default=-1)\n    -1\n"

#define DOC_INCR                                                                                                       \
    "incr(key, column, by=1)\n--\n\n"                                                                                  \
    "Add to a number, in a new row from 0, and return the sum.\n\n"                                                    \
    "Raises:\n" DOC_WRITE_ERRORS "\nExample:\n    >>> rate.incr('10.0.0.1', 'count', 5)\n    5\n"
#define DOC_DECR                                                                                                       \
    "decr(key, column, by=1)\n--\n\n"                                                                                  \
    "Subtract from a number, in a new row from 0, and return what is left.\n\n"                                        \
    "Raises:\n" DOC_WRITE_ERRORS "\nExample:\n    >>> rate.decr('10.0.0.1', 'count', 5)\n    -5\n"

#define DOC_CAS                                                                                                        \
    "cas(key, column, expected, new)\n--\n\n"                                                                          \
    "Set a column if it holds expected. Return whether it was set; for an absent row it is not.\n\n"                   \
    "Raises:\n" DOC_WRITE_ERRORS                                                                                       \
    "\nExample:\n    >>> _ = rate.set('10.0.0.1', count=1)\n"                                                          \
    "    >>> rate.cas('10.0.0.1', 'count', 1, 7), rate.cas('10.0.0.1', 'count', 1, 7)\n    (True, False)\n"

#define DOC_UPDATE                                                                                                     \
    "update(key, *, set=None, incr=None, if_=None, default=None, exists=None, returning=None, ex=None)\n--\n\n"        \
    "Change several columns of a row in one step, if the conditions hold.\n\n"                                         \
    "Args:\n"                                                                                                          \
    "    key: the row's key; a row that is absent is made.\n"                                                          \
    "    set: columns and what they become.\n"                                                                         \
    "    incr: columns and what is added to them; not those of `set`.\n"                                               \
    "    if_: columns and what they must hold before: a value, or comparisons and values, such as ('<', 5) or\n"       \
    "        ('>=', 0, '<', 5). No condition holds for an absent row, but see default.\n"                              \
    "    default: the columns of a row that is absent, before anything else; {} for all at 0, False or empty.\n"       \
    "    exists: True: only a row that is there; False: only one that is not.\n"                                       \
    "    returning: return this column instead of the row, which is quicker.\n"                                        \
    "    ex: let the row expire after these seconds, or timedelta; None keeps what it has.\n\n"                        \
    "Returns:\n    The row as it is afterwards, None when a condition did not hold: then nothing was changed.\n\n"     \
    "Raises:\n" DOC_WRITE_ERRORS                                                                                       \
    "    NotAnIntegerError: an increment of an integer column is none.\n"                                              \
    "    CounterOverflowError: a float column would become infinite.\n"                                                \
    "    ArgumentError: an unknown comparison, a column both set and incremented, a time that is none.\n"              \
    "\nExample:\n    >>> rate.update('10.0.0.1', incr={'count': 1}, set={'reset': 60})\n"                              \
    "    {'count': 1, 'reset': 60, 'note': ''}\n"                                                                      \
    "    >>> rate.update('10.0.0.1', incr={'count': 1}, if_={'count': ('<', 3)}, returning='count')\n    2\n"          \
    "    >>> rate.update('10.0.0.1', set={'reset': 120}, if_={'reset': 0})\n"

#define DOC_SETDEFAULT                                                                                                 \
    "Return a row, made of the given columns if it is absent: setdefault(key, column=value, ...) or\n"                 \
    "setdefault(key, row).\n\n"                                                                                        \
    "Raises:\n" DOC_WRITE_ERRORS                                                                                       \
    "\nExample:\n    >>> rate.setdefault('10.0.0.1', count=5)\n    {'count': 5, 'reset': 0, 'note': ''}\n"             \
    "    >>> rate.setdefault('10.0.0.1', count=9)\n    {'count': 5, 'reset': 0, 'note': ''}\n"

#define DOC_POP                                                                                                        \
    "pop(key, default=None)\n--\n\n"                                                                                   \
    "Delete a row and return what it held, in one step; `default` when there is no such row.\n\n"                      \
    "Raises:\n    ReadOnlyError, ClosedError, UnknownTableError (dropped), LatchTimeoutError.\n"                       \
    "\nExample:\n    >>> _ = rate.set('10.0.0.1', count=5)\n"                                                          \
    "    >>> rate.pop('10.0.0.1'), rate.pop('10.0.0.1')\n    ({'count': 5, 'reset': 0, 'note': ''}, None)\n"

#define DOC_EXPIRE                                                                                                     \
    "expire(key, time)\n--\n\n"                                                                                        \
    "Let a row expire after `time`: seconds, or a timedelta; None: never.\n\n"                                         \
    "Returns:\n    Whether that changed anything: False for an absent row.\n\n"                                        \
    "Raises:\n    ArgumentError: `time` is no time, or below a millisecond.\n"                                         \
    "\nExample:\n    >>> _ = rate.set('10.0.0.1', count=5)\n    >>> rate.expire('10.0.0.1', 60)\n    True\n"

#define DOC_TTL                                                                                                        \
    "ttl(key, /)\n--\n\n"                                                                                              \
    "Return the seconds that a row has left, inf when it does not expire, None when there is no such row.\n"           \
    "\nExample:\n    >>> _ = rate.set('10.0.0.1', count=5)\n    >>> rate.ttl('10.0.0.1')\n    inf\n"

#define DOC_DELETE                                                                                                     \
    "delete(key, /)\n--\n\nDelete a row; return whether it existed.\n"                                                 \
    "\nExample:\n    >>> rate.delete('nobody')\n    False\n"

#define DOC_MSET                                                                                                       \
    "mset(rows, /)\n--\n\n"                                                                                            \
    "Set columns of many rows in one step: all of them, or none when one of them cannot be.\n\n"                       \
    "Args:\n    rows: a mapping of keys to rows, or an iterable of (key, row).\n\n"                                    \
    "Returns:\n    How many rows are new.\n\n"                                                                         \
    "Raises:\n" DOC_WRITE_ERRORS                                                                                       \
    "\nExample:\n    >>> rate.mset({'a': {'count': 1}, 'b': {'note': 'x'}, 'c': {}})\n    3\n"

#define DOC_MGET                                                                                                       \
    "mget(keys, /)\n--\n\n"                                                                                            \
    "Return many rows as of one instant, in the order of the keys; None for those that are absent.\n"                  \
    "\nRaises:\n    BusyError: a read-only segment, whose rows changed during each of 64 looks.\n"                     \
    "\nExample:\n    >>> _ = rate.mset({'a': {'count': 1}})\n"                                                         \
    "    >>> rate.mget(['a', 'b'])\n    [{'count': 1, 'reset': 0, 'note': ''}, None]\n"

#define DOC_MDELETE                                                                                                    \
    "mdelete(keys, /)\n--\n\nDelete many rows in one step; return how many existed.\n"                                 \
    "\nExample:\n    >>> _ = rate.mset({'a': {}, 'b': {}})\n    >>> rate.mdelete(['a', 'nobody'])\n    1\n"

#define DOC_SCAN                                                                                                       \
    "scan(cursor=0, count=100)\n--\n\n"                                                                                \
    "Return the cursor of the next page, 0 at the end, and about `count` (key, row).\n\n"                              \
    "Every row that is there from the first page to the last comes at least once, each as of one instant. A cursor\n"  \
    "is good in every process, for as long as the table is.\n"                                                         \
    "\nExample:\n    >>> _ = rate.mset({'a': {'count': 1}})\n"                                                         \
    "    >>> rate.scan(count=10)\n    (0, [(b'a', {'count': 1, 'reset': 0, 'note': ''})])\n"

#define DOC_CLEAR                                                                                                      \
    "clear()\n--\n\n"                                                                                                  \
    "Delete all rows in one step; return how many there were.\n\n"                                                     \
    "Expired rows that nobody has reclaimed yet are counted.\n"                                                        \
    "\nExample:\n    >>> _ = rate.mset({'a': {}, 'b': {}})\n    >>> rate.clear(), len(rate)\n    (2, 0)\n"

#endif
