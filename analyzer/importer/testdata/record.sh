#!/bin/sh
# Records what softflowd says of wikipedia.pcap (of Zeek's tests), as the messages
# it sends: record.sh wikipedia.pcap. Needs softflowd and nc. softflowd puts the
# capture's name into its options: run it in the capture's folder.
set -eu
record() { # file, options
  file=$1; shift
  nc -u -l 127.0.0.1 9995 >"$file" & listener=$!
  sleep 1
  softflowd -d -r "$capture" -n 127.0.0.1:9995 "$@"
  sleep 1
  kill $listener
}
capture=$1
record wikipedia.netflow5 -v 5
record wikipedia.netflow9 -v 9
record wikipedia.ipfix -v 10
record wikipedia-biflow.ipfix -v 10 -b
record wikipedia-sampled.netflow9 -v 9 -s 10
