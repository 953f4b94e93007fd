# shellcheck shell=bash disable=SC2034,SC2154  # read by run.sh, which sets data and train_set
# The default protocol: whole utterances, cosine scores, adaptive s-norm against the training speakers. To add a
# protocol, copy this file: ./run.sh --protocol NAME reads conf/protocols/NAME.sh. It sets the options for the scripts
# of stages 4 to 7, which their --help describes, and may use $embeddings, the output folder of stage 4.

extract_options=() # stage 4: whole utterances, features or audio as the model needs
score_options=()   # stages 5 and 6: cosine of the embeddings, without centring
enrol_options=()   # stages 5 and 6, for test sets with an enrol_map: mean of the length-normalised embeddings

# Stage 6: the 300 training speakers nearest to each side, or all of them if there are fewer.
norm=${norm:-asnorm} # unless --norm says otherwise; none: no normalisation
norm_options=(--cohort-utt2spk "$data/$train_set/utt2spk")

metrics_options=() # stage 7: the EER, minDCF at the priors 0.01 and 0.05
