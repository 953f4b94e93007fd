# shellcheck shell=bash disable=SC2034  # read by run.sh
# AMI: meetings (headset mix), for embeddings over sliding windows. There are no trials, so that
#   ./run.sh --corpus ami
# stops after stage 0, with egs/ami/data/test. --sets dev,test makes more sets, --root /corpora uses the meetings in
# /corpora/amicorpus, and --annotations DIR, AMI's manual annotations or RTTM files, makes an utterance of each turn.
prepare=local/prepare_ami.py
prepare_options=(root sets annotations url) # run.sh passes --NAME VALUE of these on to it
stop_stage=0
test_sets=(test)
recipe=default # conf/recipes/default.yaml
