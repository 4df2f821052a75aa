#!/bin/sh
# Records what softflowd says of wikipedia.pcap (of Zeek's tests), as the messages
# it sends: record.sh wikipedia.pcap. Needs softflowd, nc and nfdump. softflowd puts the
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

# The same as files of nfcapd and nfpcapd. nfdump 1.7.1 is that of Debian 12; nfdump16
# and nfdump178 are the folders of the programs of 1.6.25 (layout 1) and 1.7.8
# (zstd), built of https://github.com/phaag/nfdump. What nfdump reads in the files
# stands beside them: go test ./nfcapd -update, in the folder above.
collect() { # file, address of the exporter; collector and its options; --; softflowd's options
  file=$1 address=$2; shift 2
  folder=$(mktemp -d)
  collector=
  while [ "$1" != -- ]; do collector="$collector $1"; shift; done
  shift
  $collector "$folder" -b "$address" -p 9996 & listener=$!
  sleep 1
  case $address in *:*) address="[$address]";; esac
  softflowd -d -r "$capture" -n "$address:9996" "$@"
  sleep 1
  kill $listener
  wait $listener || true
  mv "$folder"/nfcapd.2* "$file"
}
collect wikipedia-1.7.nfcapd 127.0.0.1 nfcapd -w -- -v 9
nfdump -r wikipedia-1.7.nfcapd -z -w wikipedia-1.7-lzo.nfcapd
nfdump -r wikipedia-1.7.nfcapd -y -w wikipedia-1.7-lz4.nfcapd
nfdump -r wikipedia-1.7.nfcapd -j -w wikipedia-1.7-bz2.nfcapd
"$nfdump178"/nfdump -r wikipedia-1.7.nfcapd -z=zstd -w wikipedia-1.7-zstd.nfcapd
collect wikipedia-1.7-biflow.nfcapd 127.0.0.1 nfcapd -w -- -v 10 -b
collect wikipedia-1.7-sampled.nfcapd 127.0.0.1 "$nfdump178"/nfcapd -w -- -v 9 -s 10
folder=$(mktemp -d)
nfpcapd -r "$capture" -o fat -w "$folder"
mv "$folder"/nfcapd.2* wikipedia-1.7-frames.nfcapd
collect wikipedia-1.6.nfcapd ::1 "$nfdump16"/nfcapd -6 -T all -l -- -v 9
"$nfdump16"/nfdump -r wikipedia-1.6.nfcapd -z -w wikipedia-1.6-lzo.nfcapd
"$nfdump16"/nfdump -r wikipedia-1.6.nfcapd -y -w wikipedia-1.6-lz4.nfcapd
"$nfdump16"/nfdump -r wikipedia-1.6.nfcapd -j -w wikipedia-1.6-bz2.nfcapd
collect wikipedia-1.6-sampled.nfcapd 127.0.0.1 "$nfdump16"/nfcapd -T all -l -- -v 5 -s 10
