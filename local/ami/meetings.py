"""Lists the meetings of AMI in the partition that its authors suggest for the full corpus ("Full-corpus")."""

from __future__ import annotations

from collections.abc import Iterator


def _expand(groups: str) -> Iterator[str]:
    """Yield ES2002a, ES2002b for "ES2002ab"; a name without letters stands for itself."""
    for group in groups.split():
        name = group.rstrip("abcde")
        yield from (name + letter for letter in group[len(name) :]) if group != name else (name,)


SETS = {
    "train": tuple(
        _expand(
            "ES2002abcd ES2003abcd ES2005abcd ES2006abcd ES2007abcd ES2008abcd ES2009abcd ES2010abcd ES2012abcd"
            " ES2013abcd ES2014abcd ES2015abcd ES2016abcd IS1000abcd IS1001abcd IS1002bcd IS1003abcd IS1004abcd"
            " IS1005abc IS1006abcd IS1007abcd TS3005abcd TS3006abcd TS3007abcd TS3008abcd TS3009abcd TS3010abcd"
            " TS3011abcd TS3012abcd EN2001abde EN2003a EN2004a EN2005a EN2006ab EN2009bcd IN1001 IN1002 IN1005 IN1007"
            " IN1008 IN1009 IN1012 IN1013 IN1014 IN1016 IB4005"
        )
    ),
    "dev": tuple(_expand("ES2011abcd IS1008abcd TS3004abcd IB4001 IB4002 IB4003 IB4004 IB4010 IB4011")),
    "test": tuple(_expand("ES2004abcd IS1009abcd TS3003abcd EN2002abcd")),
}
