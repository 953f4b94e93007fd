#!/usr/bin/env bash
# Vouch from raw audio to an equal error rate, in stages; ./run.sh --help lists them.
set -euo pipefail
# The folder of this script as it was called, so that paths given to it mean what they mean there; '' when called as ./run.sh.
top=$(dirname "${BASH_SOURCE[0]}")/
[ "$top" != ./ ] || top=''

corpus=demo stage=0 stop_stage=7 nj=1 cmd='' device=auto feature=fbank40 protocol=default norm='' name=''
dry_run=false suffix='' overrides=() prepare_values=() made_with=()

names() { # KIND: the names that files of this kind have in conf/, one a line
  (cd "${top}conf/${1}s" && printf '%s\n' * | sed 's/\.[^.]*$//')
}

usage() {
  cat <<HELP
usage: ./run.sh [options]         walks the stages on a corpus; without options on the demo corpus

  stage  script                         makes, in egs/CORPUS
    0    local/prepare_CORPUS.py        data/{train,valid,test}/{wav.scp,utt2spk,...} and trials
    1    steps/make_fbank.py            features: feats.scp and archives
    2    steps/augment_data.py          data/train_aug: the training set and noisy copies of it
    3    steps/train.py                 exp/NAME/final.pt, with train.log, checkpoints/, tensorboard/
    4    steps/extract_embeddings.py    exp/NAME/embeddings/SET/embedding.scp
    5    steps/score_trials.py          exp/NAME/scores: cosine of each trial
    6    steps/normalize_scores.py      the same, normalised against the training speakers
    7    steps/compute_metrics.py       exp/NAME/results: EER, minDCF, pictures; a table here

which stages, on what
  --corpus NAME           a folder of egs/ (demo)
  --stage N               first stage (0)
  --stop-stage N          last stage (7)
  --dry-run               print the command of each stage and do nothing
  --OPTION VALUE          whatever egs/CORPUS/corpus.sh passes on to stage 0, such as --root DIR of folders
how
  --model NAME            resnetse34l, xvector, ... (what the recipe says); utils/model_info.py --all lists them
  --loss NAME             softmax, amsoftmax, aamsoftmax, subcenter_aamsoftmax, ge2e, proto, angleproto, softmaxproto,
                          triplet, contrastive, center, coco, or a sum: aamsoftmax+angleproto (what the recipe says)
  --finetune FILE         start from this model: final.pt, or checkpoints/last.pt, which has the loss too
  --recipe NAME           conf/recipes/NAME.yaml (what corpus.sh says)
  --model.X, --loss.X, --train.X VALUE    an option of the recipe, such as --loss.margin 0.3 or --train.epochs 10
  --feature NAME          conf/features/NAME.yaml (fbank40)
  --musan DIR             MUSAN-shaped folder of noises for stage 2; '': no augmentation (what corpus.sh says)
  --protocol NAME         how stages 4 to 7 evaluate, in conf/protocols/NAME.sh: $(names protocol | xargs)
                          (default); of another they write to embeddings_NAME/, scores_NAME/, results_NAME/
  --norm NAME             score normalisation: none, znorm, tnorm, snorm or asnorm (what the protocol says)
  --name NAME             folder of the experiment in exp/ (model_loss and what else was set by hand)
where
  --nj N                  jobs that stages 1, 2 and 4 are split into (1)
  --cmd 'LAUNCHER ...'    who runs the jobs (utils/run.py: this machine)
  --device NAME           auto, cpu, cuda (each job of stage 4 takes another GPU) or cuda:N (auto)
HELP
}

die() {
  echo "run.sh: error: $*" >&2
  exit 1
}

nearest() { # WORD CHOICE...: a hint that names the choice that was probably meant
  PYTHONPATH=${top}src python3 -c 'import sys; from vouch.errors import nearest; print(nearest(sys.argv[1], sys.argv[2:]))' "$@"
}

one_of() { # WHAT NAME CHOICE...: fail unless the name is one of the choices
  [[ $'\n'$(printf '%s\n' "${@:3}")$'\n' == *$'\n'"$2"$'\n'* ]] || die "unknown $1 '$2'$(nearest "$2" "${@:3}")"
}

run() { # COMMAND...: run it, or only print it
  if $dry_run; then
    printf ' %q' "$@" && echo
  else
    "$@"
  fi
}

begin() { # STAGE TITLE: whether this stage is asked for; announces it
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] && echo "== stage $1: $2"
}

# The corpus comes first: it says which further options there are.
words=("$@")
for i in "${!words[@]}"; do
  [ "${words[i]}" != --corpus ] || corpus=${words[i + 1]-$corpus}
done
mapfile -t there < <(cd "${top}egs" && printf '%s\n' */ | tr -d /)
one_of corpus "$corpus" "${there[@]}"
data=${top}egs/$corpus/data
prepare='' prepare_options=() train_set=train valid_set=valid test_sets=(test) recipe=default musan=''
# shellcheck source=egs/demo/corpus.sh
[ ! -f "${top}egs/$corpus/corpus.sh" ] || . "${top}egs/$corpus/corpus.sh"

known=(--help --corpus --stage --stop-stage --dry-run --model --loss --finetune --normalization --train --recipe --feature --musan
  --protocol --norm --name --nj --cmd --device "${prepare_options[@]/#/--}")
while [ $# -gt 0 ]; do
  option=$1
  case $option in
    -h | --help) usage && exit 0 ;;
    --dry-run) dry_run=true && shift && continue ;;
    --*) ;;
    *) die "unexpected argument '$option'; options begin with --" ;;
  esac
  [[ " ${known[*]} " == *" ${option%%.*} "* ]] || die "unknown option '$option'$(nearest "$option" "${known[@]}")"
  [ $# -ge 2 ] && [[ $2 != --* ]] || die "option '$option' needs a value"
  case $option in
    --corpus) ;;
    --recipe) recipe=$2 suffix+=_$2 ;;
    --feature) feature=$2 suffix+=_$2 made_with=(--feature "${top}conf/features/$2.yaml") ;;
    --musan)
      [ -z "$2" ] || [ -d "$2" ] || die "--musan $2: no such folder"
      musan=$2 suffix+=${2:+_noise} && [ -n "$2" ] || suffix+=_clean
      ;;
    --stage | --stop-stage | --protocol | --norm | --name | --nj | --cmd | --device)
      option=${option#--} && printf -v "${option//-/_}" %s "$2" # the variable of that name
      ;;
    --model | --loss | --finetune | --normalization | --model.* | --loss.* | --train.*) overrides+=("$option" "$2") ;;
    *) prepare_values+=("$option" "$2") ;;
  esac
  shift 2
done
for number in stage stop_stage nj; do
  [[ ${!number} =~ ^[0-9]+$ ]] || die "--${number//_/-} needs a number, not '${!number}'"
done
[ "$stop_stage" -le 7 ] && [ "$stage" -le "$stop_stage" ] || die "stages are 0 to 7; --stage $stage --stop-stage $stop_stage"
[ "$nj" -ge 1 ] || die "--nj $nj: needs at least 1 job"
[[ $device =~ ^cuda:[0-9]+$ ]] || one_of device "$device" auto cpu cuda
one_of normalisation "${norm:-none}" none znorm tnorm snorm asnorm
for kind in recipe feature protocol; do
  mapfile -t there < <(names "$kind")
  one_of "$kind" "${!kind}" "${there[@]}"
done

# shellcheck source=path.sh
. "${top:-./}path.sh"
train_options=(--config "${top}conf/recipes/$recipe.yaml" "${overrides[@]}")
# Checks the options of stage 3 now, not after hours of other stages.
experiment=$("${top}steps/train.py" --print-name "${train_options[@]}")
input=${experiment#* } experiment=${experiment% *} no_noise='there is no folder of noises (--musan DIR)'
[ "$input" = features ] || musan='' no_noise='noisy copies are features, and the network takes waveforms'
name=${name:-$experiment$suffix}
exp=${top}egs/$corpus/exp/$name
jobs=(--nj "$nj" ${cmd:+--cmd "$cmd"})
trained_on=$train_set${musan:+_aug}
valid=() && [ ! -d "$data/$valid_set" ] && [ -z "$prepare" ] || valid=("$valid_set")

# What one protocol makes is kept apart from what others do.
apart='' && [ "$protocol" = default ] || apart=_$protocol
embeddings=$exp/embeddings$apart by=${apart/_/, protocol } # _NAME; , protocol NAME
# shellcheck source=conf/protocols/default.sh
. "${top}conf/protocols/$protocol.sh"
to_embed=("$train_set" "${test_sets[@]}")
# Without normalisation nobody needs the training speakers, unless the scoring does, for their mean.
[[ $norm != none || ${score_options[*]} == *"$embeddings/$train_set/"* ]] || to_embed=("${test_sets[@]}")

if begin 0 "prepare the corpus"; then
  [ -n "$prepare" ] || echo "egs/$corpus has no corpus.sh that prepares data: $data is used as it is"
  [ -z "$prepare" ] || run "$top$prepare" "$data" "${prepare_values[@]}"
fi
if begin 1 "features"; then
  [ "$input" = features ] || echo "no features: the network takes waveforms, straight from the recordings"
  for set in "$train_set" "${valid[@]}" "${test_sets[@]}"; do
    [ "$input" = waveform ] || run "${top}steps/make_fbank.py" "$data/$set" --config "${top}conf/features/$feature.yaml" "${jobs[@]}"
  done
fi
if begin 2 "augmentation"; then
  [ -n "$musan" ] || echo "no augmentation: $no_noise"
  [ -z "$musan" ] || run "${top}steps/augment_data.py" "$data/$train_set" "$data/$trained_on" --musan "$musan" "${jobs[@]}"
fi
if begin 3 "training"; then
  run "${top}steps/train.py" "$data/$trained_on" "$exp" "${valid[@]/#/--valid=$data/}" "${made_with[@]}" \
    --device "$device" "${train_options[@]}"
fi
if begin 4 "embeddings$by"; then
  for set in "${to_embed[@]}"; do
    run "${top}steps/extract_embeddings.py" "$data/$set" "$exp/final.pt" "$embeddings/$set" "${extract_options[@]}" \
      --device "$device" "${jobs[@]}"
  done
fi
for set in "${test_sets[@]}"; do
  compare=("${score_options[@]}")
  [ ! -f "$data/$set/enrol_map" ] || compare+=(--enrol-map "$data/$set/enrol_map" "${enrol_options[@]}")
  for trials in "$data/$set"/trials*; do
    # A test set may have several lists: trials, trials_hard, ... The name stays a pattern where there is none yet.
    list=${trials##*/} && list=${set}_${list%\*}
    scores=$exp/scores$apart/$list.txt normalized=$exp/scores$apart/${list}_$norm.txt
    if begin 5 "scores of $list$by"; then
      run "${top}steps/score_trials.py" "${trials%\*}" "$embeddings/$set/embedding.scp" "$scores" "${compare[@]}"
    fi
    if begin 6 "normalised scores of $list$by"; then
      [ "$norm" != none ] || echo "no normalisation: protocol $protocol has none, or --norm is none"
      [ "$norm" = none ] || run "${top}steps/normalize_scores.py" "$scores" "$embeddings/$set/embedding.scp" \
        "$embeddings/$train_set/embedding.scp" "$normalized" --method "$norm" "${norm_options[@]}" "${compare[@]}"
    fi
    if begin 7 "results on $list$by"; then
      judged=("$scores") && [ "$norm" = none ] || judged+=("$normalized")
      run "${top}steps/compute_metrics.py" "${trials%\*}" "${judged[@]}" --out-dir "$exp/results$apart" "${metrics_options[@]}"
      echo "log: $exp/train.log"
    fi
  done
done
